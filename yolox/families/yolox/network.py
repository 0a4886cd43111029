"""The detector: backbone with neck, and the decoupled head."""

from typing import Any

import torch
from torch import Tensor

from yolox.families.base import Detector
from yolox.families.yolox.head import Predictions, YOLOXHead
from yolox.families.yolox.neck import PAFPN, TopDownFPN
from yolox.families.yolox.spec import YoloxSpec
from yolox.ops.points import decode_boxes, grid_points


class YoloxDetector(Detector):
    """Names of modules and weights are official YOLOX's."""

    class_keys = ("head.cls_preds.",)
    head_keys = ("head.",)

    def __init__(self, spec: YoloxSpec):
        super().__init__()
        self.strides, self.divisor = spec.strides, spec.divisor
        neck = TopDownFPN(spec.act) if spec.backbone == "darknet53" else PAFPN(spec)
        self.backbone: Any = neck
        self.head: Any = YOLOXHead(spec, neck.out_channels)

    @property
    def feature_readers(self) -> list[str]:
        """The convolutions that read the neck's features, fine to coarse."""
        return [f"head.{name}" for name in self.head.feature_readers]

    def raw(self, images: Tensor) -> Predictions:
        """Raw predictions in either mode."""
        predictions: Predictions = self.head(self.backbone(images))
        return predictions

    def decode(self, raw: Predictions, size_hw: tuple[int, int]) -> Tensor:
        """Boxes in pixels and probabilities, in float32: [B, A, 5 + C]."""
        box = raw.box.float()
        points, steps = grid_points(raw.sizes, self.strides, box.device, box.dtype)
        scores = torch.cat([raw.obj.float(), raw.cls.float()], dim=-1).sigmoid()
        return torch.cat([decode_boxes(box, points, steps), scores], dim=-1)

    def flat(self, raw: Predictions) -> Tensor:
        """Offsets in units of the stride, sizes as logarithms, probabilities: as YOLOX exports."""
        scores = torch.cat([raw.obj, raw.cls], dim=-1).sigmoid()
        return torch.cat([raw.box, scores], dim=-1).float()
