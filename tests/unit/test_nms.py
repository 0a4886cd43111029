"""Thresholds, suppression and filters of the postprocessing."""

import pytest
import torch
from torchvision.ops import batched_nms, nms

from yolox.config import EvalSpec
from yolox.ops.nms import postprocess
from yolox.ops.suppress import suppressed, suppressed_by_class


def _decoded(*rows):
    return torch.tensor([rows], dtype=torch.float32)


# cx, cy, w, h, objectness, class 0, class 1
FIRST = (50, 50, 20, 20, 0.9, 0.8, 0.6)
NEAR = (52, 50, 20, 20, 0.8, 0.7, 0.1)
FAR = (150, 50, 20, 20, 0.5, 0.1, 0.9)


def _found(spec, *rows):
    return postprocess(_decoded(*rows), spec)[0]


def test_overlapping_boxes_of_a_class_are_suppressed():
    found = _found(EvalSpec(conf=0.1, nms=0.5), FIRST, NEAR, FAR)
    assert found.shape == (2, 7)
    torch.testing.assert_close(found[0], torch.tensor([40.0, 40, 60, 60, 0.9, 0.8, 0]))
    assert found[1, 6] == 1


def test_nothing_is_found_where_nothing_is():
    assert _found(EvalSpec(conf=0.95), FIRST, FAR).shape == (0, 7)


def test_every_class_over_the_threshold():
    found = _found(EvalSpec(conf=0.1, nms=0.5, multi_class=True), FIRST)
    assert found[:, 6].tolist() == [0, 1]


def test_soft_nms_lowers_instead_of_removing():
    found = _found(EvalSpec(conf=0.1, nms=0.5, soft_nms=True), FIRST, NEAR, FAR)
    scores = found[:, 4] * found[:, 5]
    overlap = 18 * 20 / (2 * 400 - 18 * 20)
    lowered = 0.56 * torch.exp(torch.tensor(-(overlap**2) / 0.5))
    assert sorted(scores.tolist()) == pytest.approx(sorted([0.72, 0.45, float(lowered)]), abs=1e-4)
    assert (scores.diff() <= 0).all()


def test_limits():
    assert len(_found(EvalSpec(conf=0.1, max_detections=1), FIRST, FAR)) == 1
    assert len(_found(EvalSpec(conf=0.1, max_candidates=1), FIRST, FAR)) == 1


def test_second_class_filter():
    # 0.8 / 0.6 and 0.9 / 0.1
    assert len(_found(EvalSpec(conf=0.1, min_class_ratio=2.0), FIRST, FAR)) == 1
    # 0.81 / 0.8 and 0.25 / 0.9
    kept = _found(EvalSpec(conf=0.1, min_objectness_ratio=1.0), FIRST, FAR)
    assert kept[:, 6].tolist() == [0]


@pytest.mark.parametrize("count", [0, 1, 800, 1001, 3000])
def test_suppression_is_that_of_torchvision(count):
    """Also where scores are equal, and beyond the number where classes take turns."""
    boxes, labels = torch.rand(count, 4) * 400, torch.randint(0, 20, (count,)).float()
    boxes[:, 2:] += boxes[:, :2]
    scores = (torch.rand(count) * 50).round() / 50
    assert torch.equal(suppressed(boxes, scores, 0.5), nms(boxes, scores, 0.5))
    found = suppressed_by_class(boxes, scores, labels, 0.5)
    assert torch.equal(found, batched_nms(boxes, scores, labels, 0.5))
