"""Points that a decoder has chosen, best first, are compared whatever their order."""

import pytest
import torch

from yolox.export.parity import _compare_detections, _compare_points


def ranked(count=40):
    """[count, 7] points whose scores fall from 0.9, and boxes that lie apart."""
    score = torch.linspace(0.9, 0.1, count)
    place = torch.arange(count)[:, None] * 20.0
    boxes = torch.cat([place, place, torch.full((count, 2), 10.0)], dim=1)
    return torch.cat([boxes, torch.ones(count, 1), score[:, None], score[:, None] / 2], dim=1)


def test_equal_scores_may_come_in_another_order():
    reference = ranked()
    reference[3, 5:] = reference[2, 5:]
    found = reference.clone()
    found[[2, 3]] = reference[[3, 2]]
    assert _compare_points(reference, found) == (0.0, pytest.approx(0.0, abs=1e-9), 0, 80)


def test_another_box_at_the_end_is_no_loss_but_one_before_it_is():
    reference, found = ranked(), ranked()
    found[-1, :2] += 500
    assert _compare_points(reference, found)[2] == 0
    found[5, :2] += 5000
    assert _compare_points(reference, found)[2] == 2  # each table has one that the other lacks


def test_differences_of_boxes_and_scores_are_seen():
    reference, found = ranked(), ranked()
    found[7, 2] += 0.1
    found[9, 6] += 0.05
    score, box, lost, _ = _compare_points(reference, found)
    assert score == pytest.approx(0.05, abs=1e-6)
    assert box == pytest.approx(0.1 / 10.1, rel=1e-3)
    assert lost == 0


def test_points_in_a_fixed_order_are_compared_one_by_one():
    reference = ranked().flip(0)
    found = reference.clone()
    found[[2, 3]] = reference[[3, 2]]
    assert _compare_points(reference, found)[1] == pytest.approx(1.0)


def test_boxes_of_no_size_differ_by_pixels_not_by_shares():
    reference, found = ranked(), ranked()
    reference[4, 2:4], found[4, 2:4] = 1e-4, 2e-4
    assert _compare_points(reference, found)[1] == pytest.approx(0.0, abs=1e-6)


def test_the_last_of_as_many_detections_as_may_be_is_no_loss():
    """Which of nearly equal ones is the last, the last digit decides."""
    score = torch.tensor([0.9, 0.5, 0.302, 0.3])
    rows = torch.zeros(4, 7)
    rows[:, 0] = torch.arange(4) * 30.0
    rows[:, 1:4] = torch.tensor([0.0, 0, 10])
    rows[:, 2] = rows[:, 0] + 10
    rows[:, 4], rows[:, 5] = score, 1.0
    reference, found = rows[[0, 1, 2]], rows[[0, 1, 3]]
    assert _compare_detections(reference, found, 0.01, most=3)[2:] == (0, 6)
    assert _compare_detections(reference, found, 0.01, most=0)[2:] == (2, 6)
    assert _compare_detections(reference[1:], found, 0.01, most=3)[2:] == (2, 5)
