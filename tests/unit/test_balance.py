"""Filters of one norm: the same answers, and gradients of one scale."""

import pytest
import torch
from torch import nn

from tests.tiny_models import SPECS, Net, spread_scores
from tests.unit.test_groups import FOUND, Levels, randomised
from yolox.families import build
from yolox.models.balance import balance_filters
from yolox.models.fuse import fuse, is_fused


@pytest.mark.parametrize("name", SPECS)
def test_the_answers_stay_and_the_filters_have_norm_one(name):
    torch.manual_seed(0)
    model = build(SPECS[name]).eval()
    spread_scores(model)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.mul_(torch.rand(len(module.weight), 1, 1, 1) + 0.1)
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-1, 1)
    balanced = balance_filters(model)
    image = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        torch.testing.assert_close(balanced(image), model(image), rtol=1e-3, atol=1e-3)
    norms = [
        module.weight.flatten(1).norm(dim=1)
        for key, module in balanced.named_modules()
        if isinstance(module, nn.Conv2d) and "_preds" not in key
    ]
    torch.testing.assert_close(torch.cat(norms), torch.ones(sum(map(len, norms))))
    assert model.backbone.backbone.stem.conv.conv.weight.flatten(1).norm(dim=1).std() > 0.1


@pytest.mark.parametrize("kind", FOUND)
def test_balanced_and_fused_networks_answer_alike(kind):
    model = randomised(kind())
    image = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        for other in (balance_filters(model), fuse(model), fuse(balance_filters(model))):
            torch.testing.assert_close(other(image), model(image), rtol=1e-4, atol=1e-4)


def test_batch_norms_that_share_a_convolution_stay():
    fused = fuse(randomised(Levels()))
    left = [name for name, module in fused.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert left == ["norms.0", "norms.1"]
    balanced = balance_filters(randomised(Levels())).tower.weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(balanced, torch.ones(8))


def test_nothing_is_fused_where_something_else_reads_the_convolution_too():
    class Twice(Net):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
            self.used, self.scale = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def raw(self, x):
            x, y = self.conv(x), self.used(x)
            y = torch.nn.functional.batch_norm(
                y, self.scale.running_mean, self.scale.running_var, self.scale.weight
            )
            return x + self.norm(x) + y

    model = randomised(Twice())
    fused = fuse(model)
    assert isinstance(fused.norm, nn.BatchNorm2d)
    assert isinstance(fused.scale, nn.BatchNorm2d)  # its values are used without it
    image = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(fused(image), model(image))


def test_a_module_that_stands_in_two_places_is_fused_in_both():
    class Aliased(Net):
        def __init__(self):
            super().__init__()
            self.first = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3))
            self.second = nn.ModuleList(self.first)

        def raw(self, x):
            return self.second[1](self.second[0](self.first(x)))

    model = randomised(Aliased())
    fused = fuse(model)
    assert is_fused(fused)
    image = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(fused(image), model(image))


def test_filters_that_are_zero_stay_zero():
    model = build(next(iter(SPECS.values())))
    block = model.backbone.backbone.stem.conv
    with torch.no_grad():
        block.conv.weight[0] = 0.0
    found = balance_filters(model).backbone.backbone.stem.conv.conv.weight
    assert not found[0].any()
    assert torch.isfinite(found).all()
