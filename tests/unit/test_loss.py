"""The YOLOX loss where the stored references do not reach."""

import pytest
import torch

from yolox.families.yolox import YoloxLoss
from yolox.families.yolox.head import Predictions
from yolox.ops.boxes import giou_cxcywh, iou_cxcywh, iou_matrix

SIZES = ((4, 4), (2, 2), (1, 1))
POINTS = 21


def _predictions(dtype=torch.float32, classes=3, images=1):
    generator = torch.Generator().manual_seed(0)

    def draw(width):
        values = torch.randn(images, POINTS, width, generator=generator, dtype=dtype) * 0.3
        return values.requires_grad_()

    return Predictions(draw(4), draw(1), draw(classes), SIZES)


def _targets(*rows, padding=3, dtype=torch.float32):
    return torch.tensor([[*rows, *[[0.0] * 5] * padding]], dtype=dtype)


BOX = [1.0, 16.0, 16.0, 12.0, 10.0]


def test_images_without_objects_train_on_objectness_alone():
    criterion = YoloxLoss((8, 16, 32))
    predictions = _predictions()
    losses = criterion(predictions, torch.zeros(1, 3, 5))
    assert losses["num_fg"] == 0
    assert losses["iou_loss"] == losses["cls_loss"] == losses["l1_loss"] == 0
    losses["total_loss"].backward()
    assert predictions.obj.grad.abs().sum() > 0
    assert torch.isfinite(predictions.obj.grad).all()


def test_an_object_in_front_of_a_padding_row_is_not_lost():
    criterion = YoloxLoss((8, 16, 32))
    predictions = _predictions()
    first = criterion(predictions, _targets(BOX))
    shifted = criterion(predictions, _targets([0.0] * 5, BOX))
    for key, value in first.items():
        assert float(value.detach()) == float(shifted[key].detach())


@pytest.mark.parametrize("iou_loss", ["iou", "giou"])
def test_gradients_are_those_of_finite_differences(iou_loss):
    criterion = YoloxLoss((8, 16, 32), iou_loss)
    predictions = _predictions(torch.float64)
    targets = _targets(BOX, [0.0, 8.0, 20.0, 9.0, 14.0], dtype=torch.float64)

    def total(box):
        # class and objectness targets hold the IoU, which is not differentiated: box terms only
        losses = criterion(predictions._replace(box=box), targets, plain=True)
        return losses["iou_loss"] + losses["l1_loss"]

    assert torch.autograd.gradcheck(total, (predictions.box,))


def test_half_precision_is_lifted():
    predictions = _predictions()
    half = Predictions(*(t.detach().bfloat16() for t in predictions[:3]), SIZES)
    losses = YoloxLoss((8, 16, 32))(half, _targets(BOX))
    assert losses["total_loss"].dtype == torch.float32


def test_foreground_count_is_shared_between_processes():
    criterion = YoloxLoss((8, 16, 32))
    alone = criterion(_predictions(), _targets(BOX))
    criterion.mean_over_processes = lambda count: count * 2
    shared = criterion(_predictions(), _targets(BOX))
    assert float(shared["conf_loss"].detach()) == pytest.approx(
        float(alone["conf_loss"].detach()) / 2
    )


def test_overlaps_of_known_boxes():
    one = torch.tensor([[5.0, 5.0, 10.0, 10.0]])
    other = torch.tensor([[10.0, 5.0, 10.0, 10.0], [25.0, 5.0, 10.0, 10.0]])
    torch.testing.assert_close(iou_cxcywh(one, other), torch.tensor([1 / 3, 0.0]))
    # hull 15 x 10 without a gap; hull 30 x 10 with a gap of 10 x 10
    torch.testing.assert_close(giou_cxcywh(one, other), torch.tensor([1 / 3, -1 / 3]))


def test_targets_of_another_precision_change_nothing():
    criterion = YoloxLoss((8, 16, 32))
    predictions = _predictions()
    wanted = criterion(predictions, _targets(BOX))
    for dtype in (torch.float64, torch.float16):  # which hold these numbers exactly
        found = criterion(predictions, _targets(BOX, dtype=dtype))
        assert found["total_loss"].dtype == torch.float32
        assert float(found["total_loss"].detach()) == float(wanted["total_loss"].detach())


def test_a_matrix_of_overlaps_has_the_numbers_of_single_ones():
    torch.manual_seed(0)
    first, second = torch.rand(7, 4) * 50 + 1, torch.rand(9, 4) * 50 + 1
    second[:3] = first[:3]
    assert torch.equal(iou_matrix(first, second), iou_cxcywh(first[:, None], second[None]))
