"""Training under 8 bits: the rounding is that of an INT8 file, and learning goes on through it."""

import copy

import pytest
import torch
from torch import nn

from tests.tiny_models import noise
from yolox.models.fake_int8 import FakeInt8, as_int8, round_in_own_range, round_int8, round_uint8


def small() -> nn.Sequential:
    torch.manual_seed(0)
    parts = [
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.SiLU(),
        nn.Conv2d(8, 8, 3, groups=8),
    ]
    return nn.Sequential(*parts)


def test_the_range_of_values_holds_zero():
    values = torch.rand(100) + 1.0
    expected = round_uint8(values, torch.tensor(0.0), values.max())
    assert torch.equal(round_in_own_range(values), expected)
    assert torch.equal(round_in_own_range(-values), -expected)


def test_what_is_computed_is_rounded_at_every_place():
    model = small().eval()
    rounding, images = FakeInt8(model), noise(2, (16, 16)).float()
    first, norm, act, last = model
    with torch.no_grad(), rounding.active():
        found = model(images)
    with torch.no_grad():
        x = nn.functional.conv2d(round_in_own_range(images), round_int8(first.weight))
        x = act(round_in_own_range(norm(x)))
        x = nn.functional.conv2d(
            round_in_own_range(x), round_int8(last.weight), last.bias, groups=8
        )
    assert torch.equal(found, x)


def test_nothing_is_rounded_outside_of_the_block():
    model, images = small().eval(), noise(2, (16, 16)).float()
    plain = copy.deepcopy(model)
    rounding = FakeInt8(model)
    other = copy.deepcopy(model)
    with torch.no_grad(), rounding.active():
        rounded = model(images)
        assert torch.equal(other(images), plain(images))
    with torch.no_grad():
        assert torch.equal(model(images), plain(images))
        assert not torch.equal(rounded, plain(images))


def test_an_error_within_leaves_the_parameter_in_place():
    model = small()
    with pytest.raises(RuntimeError), FakeInt8(model).active():
        model(torch.zeros(1, 5, 8, 8))
    assert isinstance(model[0].weight, nn.Parameter)


def test_gradients_pass_through_the_rounding():
    model, images = small(), torch.randn(8, 3, 16, 16)
    rounding = FakeInt8(model)

    def gradient() -> torch.Tensor:
        model.zero_grad()
        model(images).square().mean().backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    plain = gradient()
    with rounding.active():
        rounded = gradient()
    assert not torch.equal(plain, rounded)
    assert float(torch.cosine_similarity(plain, rounded, dim=0)) > 0.95


def test_a_model_to_be_judged_computes_with_8_bits_everywhere():
    model, images = small().eval(), noise(2, (16, 16)).float()
    rounding, judged = FakeInt8(model), as_int8(small().eval())
    with torch.no_grad():
        with rounding.active():
            wanted = model(images)
        assert torch.equal(judged(images), wanted)
        assert not torch.equal(model(images), wanted)
