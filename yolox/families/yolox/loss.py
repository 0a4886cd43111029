"""The loss of YOLOX: box overlap, objectness, class, and L1 in the last epochs."""

import torch
import torch.nn.functional as F
from torch import Tensor

from yolox.families.base import CountMean, unchanged
from yolox.families.yolox.distance import output_distance
from yolox.families.yolox.head import Predictions
from yolox.families.yolox.simota import PointPredictions, assign
from yolox.ops.boxes import giou_cxcywh, iou_cxcywh
from yolox.ops.points import decode_boxes, grid_points


class YoloxLoss:
    """Judges raw predictions: `criterion(model(images), targets)` gives the loss terms.

    A criterion of a family, see `yolox.families.base`. plain: adds the L1 term.
    """

    def __init__(self, strides: tuple[int, ...], iou_loss: str = "iou", iou_weight: float = 5.0):
        self.strides = strides
        self.iou_loss = iou_loss
        self.iou_weight = iou_weight
        self.mean_over_processes: CountMean = unchanged

    def __call__(
        self, predictions: Predictions, targets: Tensor, *, plain: bool = False
    ) -> dict[str, Tensor]:
        """targets: [B, N, 5] class, cx, cy, w, h (pixels); rows without a size are padding.

        Returns scalars: total_loss, iou_loss (already weighted), l1_loss, conf_loss, cls_loss, and
        num_fg, the foreground points per object. Computed in float32 at least.
        """
        box, obj, cls = (_at_least_float32(t) for t in predictions[:3])
        targets = targets.to(box.dtype)
        points, steps = grid_points(predictions.sizes, self.strides, box.device, box.dtype)
        decoded = decode_boxes(box, points, steps)
        found = PointPredictions(decoded.detach(), obj, cls)
        fg, objects = assign(found, targets, points, steps)
        matched = targets[fg.images, fg.rows]
        count = box.new_full((), float(len(fg.points)))
        norm = self.mean_over_processes(count).clamp(min=1.0)

        iou_loss = self.iou_weight * self._box_loss(decoded[fg.images, fg.points], matched) / norm
        is_fg = torch.zeros_like(obj)
        is_fg[fg.images, fg.points] = 1.0
        conf_loss = F.binary_cross_entropy_with_logits(obj, is_fg, reduction="sum") / norm
        cls_fg = cls[fg.images, fg.points]
        label = matched[:, :1].long()
        cls_target = torch.zeros_like(cls_fg).scatter_(1, label, fg.ious[:, None].to(cls.dtype))
        cls_loss = F.binary_cross_entropy_with_logits(cls_fg, cls_target, reduction="sum") / norm
        l1_loss = box.new_zeros(())
        if plain:
            wanted = _offsets(matched[:, 1:5], points[fg.points], steps[fg.points])
            l1_loss = (box[fg.images, fg.points] - wanted).abs().sum() / norm
        return {
            "total_loss": iou_loss + conf_loss + cls_loss + l1_loss,
            "iou_loss": iou_loss,
            "conf_loss": conf_loss,
            "cls_loss": cls_loss,
            "l1_loss": l1_loss,
            "num_fg": count / max(objects, 1),
        }

    def distance(self, own: Predictions, wanted: Predictions) -> Tensor:
        """How far raw predictions are from those of another model: `output_distance`."""
        return output_distance(own, wanted, self.strides)

    def _box_loss(self, boxes_cxcywh: Tensor, matched: Tensor) -> Tensor:
        wanted = matched[:, 1:5]
        if self.iou_loss == "giou":
            return (1 - giou_cxcywh(boxes_cxcywh, wanted).clamp(-1.0, 1.0)).sum()
        return (1 - iou_cxcywh(boxes_cxcywh, wanted) ** 2).sum()


def _offsets(boxes_cxcywh: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """The raw offsets [F, 4] that decode to the given boxes at the given points."""
    centres = boxes_cxcywh[:, :2] / strides - points
    return torch.cat([centres, (boxes_cxcywh[:, 2:] / strides + 1e-8).log()], dim=-1)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
