"""Filters of one norm: the same answers, and gradients of one scale."""

import pytest
import torch
from torch import nn

from tests.tiny_models import SPECS, spread_scores
from yolox.families import build
from yolox.models.balance import balance_filters


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


def test_filters_that_are_zero_stay_zero():
    model = build(next(iter(SPECS.values())))
    block = model.backbone.backbone.stem.conv
    with torch.no_grad():
        block.conv.weight[0] = 0.0
    found = balance_filters(model).backbone.backbone.stem.conv.conv.weight
    assert not found[0].any()
    assert torch.isfinite(found).all()
