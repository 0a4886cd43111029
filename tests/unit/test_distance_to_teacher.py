"""Each term of the distance between predictions, one at a time and in numbers."""

import math

import pytest
import torch

from yolox.families.yolox.distance import output_distance
from yolox.families.yolox.head import Predictions

STRIDES = (8, 16, 32)
SIZES = ((2, 2), (1, 1), (1, 1))
POINTS = 6


def predictions(obj=0.0, cls=0.0, box=0.0, classes=2):
    """The same raw value everywhere; `obj` and `cls` are probabilities, 0 stands for a half."""
    parts = [torch.full((1, POINTS, 4), box), torch.full((1, POINTS, 1), obj)]
    return Predictions(*parts, torch.full((1, POINTS, classes), cls), SIZES)


def entropy_gap(own, wanted):
    """Kullback-Leibler divergence of two logits' probabilities."""
    p, q = (1 / (1 + math.exp(-logit)) for logit in (wanted, own))
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def loss(own, wanted):
    return float(output_distance(own, wanted, STRIDES))


def test_equal_predictions_are_no_distance_apart():
    assert loss(predictions(1.0, -2.0, 0.3), predictions(1.0, -2.0, 0.3)) == pytest.approx(
        0, abs=1e-5
    )


def test_objectness_counts_at_every_point():
    sure = POINTS / (1 + math.exp(-1.0))
    found = loss(predictions(obj=-1.0), predictions(obj=1.0))
    assert found == pytest.approx(POINTS * entropy_gap(-1.0, 1.0) / sure, rel=1e-4)


def test_classes_count_where_the_teacher_is_sure():
    own, wanted = predictions(cls=-1.0), predictions(cls=2.0)
    found = loss(own, wanted)
    assert found == pytest.approx(2 * entropy_gap(-1.0, 2.0), rel=1e-4)  # two classes
    wanted.obj[0, 1:] = own.obj[0, 1:] = -30.0  # sure of one point only
    # its weight of a half, over a sum of weights that counts as one at least
    assert loss(own, wanted) == pytest.approx(2 * entropy_gap(-1.0, 2.0) / 2, rel=1e-4)


def test_boxes_count_where_the_teacher_is_sure():
    own, wanted = predictions(), predictions()
    own.box[..., 2:] = math.log(2.0)  # twice as wide and high around the same centre: IoU 1/4
    assert loss(own, wanted) == pytest.approx(5 * 0.75, rel=1e-4)
    own.box[..., 2:] = 0.0
    own.box[..., 0] = 0.5  # half a box to the side: IoU 1/3
    assert loss(own, wanted) == pytest.approx(5 * 2 / 3, rel=1e-4)


def test_the_teacher_decides_what_counts():
    own, wanted = predictions(obj=3.0), predictions(obj=-30.0)
    own.box[..., 0] = 0.5
    apart = POINTS * math.log(1 + math.exp(3.0))  # objectness alone: nothing is there
    assert loss(own, wanted) == pytest.approx(apart, rel=1e-3)
