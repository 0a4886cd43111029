"""Cutting channels: weights that stay, records that compose, what cannot be cut."""

import pytest
import torch
from torch import nn

from yolox.errors import ModelError
from yolox.models.channels import compose, cut_channels, cut_masks, relative_channels


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.ConvTranspose2d(6, 4, 2),
        nn.Conv2d(4, 4, 1, groups=2),
    )


CUT = {
    "0": {"out": [0, 2, 5]},
    "1": {"out": [0, 2, 5]},
    "2": {"out": [0, 2, 5]},
    "3": {"in": [0, 2, 5]},
}


def test_cutting_keeps_the_weights_of_kept_channels(model):
    small = cut_channels(model, CUT)
    assert torch.equal(small[0].weight, model[0].weight[[0, 2, 5]])
    assert torch.equal(small[0].bias, model[0].bias[[0, 2, 5]])
    assert torch.equal(small[1].running_var, model[1].running_var[[0, 2, 5]])
    assert torch.equal(small[2].weight, model[2].weight[[0, 2, 5]])
    assert torch.equal(small[3].weight, model[3].weight[[0, 2, 5]])
    assert small[2].groups == small[2].in_channels == 3
    assert small(torch.rand(1, 3, 8, 8)).shape == (1, 4, 5, 5)


def test_cutting_leaves_the_model_and_the_random_state_alone(model):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    small = cut_channels(model, CUT)
    nn.init.zeros_(small[0].weight)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert small[0].weight.requires_grad


def test_cut_twice_is_cut_once_by_the_composed_record(model):
    second = {"0": {"out": [1, 2]}, "1": {"out": [1, 2]}, "2": {"out": [1, 2]}, "3": {"in": [1, 2]}}
    both = compose(CUT, second)
    assert both["0"]["out"] == [2, 5]
    twice = cut_channels(cut_channels(model, CUT), second).state_dict()
    once = cut_channels(model, both).state_dict()
    assert all(torch.equal(twice[key], once[key]) for key in once)


def test_masks_are_cut_like_their_weights(model):
    masks = {"0.weight": torch.rand(6, 3, 3, 3) > 0.5, "3.weight": torch.rand(6, 4, 2, 2) > 0.5}
    small = cut_masks(masks, model, CUT)
    assert torch.equal(small["0.weight"], masks["0.weight"][[0, 2, 5]])
    assert torch.equal(small["3.weight"], masks["3.weight"][[0, 2, 5]])


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        ({"9": {"out": [0]}}, "no layer 9"),
        ({"": {"out": [0]}}, "Sequential, which cannot be cut"),
        ({"4": {"out": [0]}}, "2 groups"),
        ({"0": {"out": []}}, "0, out keeps nothing"),
        ({"0": {"out": [1, 0]}}, "not among 6"),
        ({"0": {"out": [6]}}, "not among 6"),
        ({"1": {"in": [0]}}, "no side 'in'"),
        ({"2": {"in": [0]}}, "no side 'in'"),
    ],
)
def test_what_cannot_be_cut_is_named(model, channels, words):
    with pytest.raises(ModelError, match=words):
        cut_channels(model, channels)


def test_relative_channels_undo_compose():
    second = {"0": {"out": [1, 2]}, "1": {"out": [1, 2]}, "2": {"out": [1, 2]}, "3": {"in": [1]}}
    assert relative_channels(CUT, compose(CUT, second)) == second
    assert relative_channels({}, CUT) == CUT


@pytest.mark.parametrize("after", [{}, {**CUT, "0": {"out": [0, 1]}}])
def test_channels_that_the_other_has_not(after):
    with pytest.raises(ModelError, match="has channels that the other has not"):
        relative_channels(CUT, after)
