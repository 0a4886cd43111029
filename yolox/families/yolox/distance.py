"""How far the predictions of two YOLOX models are from each other."""

import torch
from torch import Tensor

from yolox.families.yolox.head import Predictions
from yolox.losses.divergence import divergence
from yolox.ops.boxes import iou_cxcywh
from yolox.ops.points import decode_boxes, grid_points

BOX_WEIGHT = 5.0  # as YOLOX weights its box loss
LARGEST_LOG = 10.0  # of a size in strides: e^10 of them are larger than any image


def output_distance(own: Predictions, wanted: Predictions, strides: tuple[int, ...]) -> Tensor:
    """How far raw predictions are from those of another model.

    Cross-entropy with the other's probabilities for objectness (every point) and classes, and
    1 - IoU of the boxes, the latter two weighted with the other's objectness; over the sum of
    it, which stands for the number of objects' points. Zero only where both agree.
    """
    sure = wanted.obj.float().sigmoid()
    norm = sure.sum().clamp(min=1.0)
    objectness = divergence(own.obj, wanted.obj).sum()
    classes = (divergence(own.cls, wanted.cls) * sure).sum()
    points, steps = grid_points(wanted.sizes, strides, wanted.box.device, torch.float32)
    boxes = [decode_boxes(_bounded(p.box), points, steps) for p in (own, wanted)]
    apart = 1 - iou_cxcywh(boxes[0], boxes[1])
    return (objectness + classes + BOX_WEIGHT * (apart * sure[..., 0]).sum()) / norm


def _bounded(box: Tensor) -> Tensor:
    """Raw boxes in float32 whose sizes do not overflow."""
    return torch.cat([box[..., :2].float(), box[..., 2:].float().clamp(max=LARGEST_LOG)], dim=-1)
