"""From a spec to a detector. Building is pure: every call gives a fresh module."""

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from yolox.config import DetectorSpec
from yolox.errors import UsageError
from yolox.limits import over_limit
from yolox.models.pafpn import PAFPN, TopDownFPN
from yolox.models.yolox_head import Predictions, YOLOXHead
from yolox.ops.points import decode_boxes, grid_points


class Detector(nn.Module):
    """Backbone with neck, and a head.

    In training mode images give raw `Predictions`; in evaluation mode decoded predictions
    [B, A, 5 + C]: cx, cy, w, h in pixels, objectness, class probabilities.
    """

    def __init__(self, spec: DetectorSpec):
        super().__init__()
        self.strides = spec.strides
        neck = PAFPN(spec) if spec.backbone == "csp" else TopDownFPN(spec.act)
        self.backbone: Any = neck
        self.head: Any = YOLOXHead(spec, neck.out_channels)

    @property
    def feature_readers(self) -> list[str]:
        """The convolutions that read the neck's features, fine to coarse."""
        return [f"head.{name}" for name in self.head.feature_readers]

    def forward(self, images: Tensor) -> Predictions | Tensor:
        """images: [B, 3, H, W], BGR, 0-255, float; H and W multiples of the largest stride."""
        predictions = self.raw(images)
        return predictions if self.training else decode(predictions, self.strides)

    def raw(self, images: Tensor) -> Predictions:
        """Raw predictions in either mode."""
        predictions: Predictions = self.head(self.backbone(images))
        return predictions


def decode(predictions: Predictions, strides: tuple[int, ...]) -> Tensor:
    """Raw predictions -> [B, A, 5 + C]: boxes in pixels and probabilities, in float32."""
    box = predictions.box.float()
    points, steps = grid_points(predictions.sizes, strides, box.device, box.dtype)
    boxes_cxcywh = decode_boxes(box, points, steps)
    scores = torch.cat([predictions.obj.float(), predictions.cls.float()], dim=-1).sigmoid()
    return torch.cat([boxes_cxcywh, scores], dim=-1)


def build(spec: DetectorSpec) -> Detector:
    """A fresh detector with random weights. Raises UsageError as `require_few_parameters`."""
    require_few_parameters(spec)
    return Detector(spec)


def skeleton(spec: DetectorSpec) -> Detector:
    """The detector without memory for its weights (on torch's meta device).

    Raises UsageError as `require_few_parameters`.
    """
    require_few_parameters(spec)
    with torch.device("meta"):
        return Detector(spec)


@cache
def require_few_parameters(spec: DetectorSpec) -> None:
    """Raises UsageError where the detector would have more parameters than MAX_PARAMETERS."""
    where = f"depth {spec.depth}, width {spec.width}, channels {spec.channels}"
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layers without channels, which are refused below
            sizes = [parameter.numel() for parameter in Detector(spec).parameters()]
    except (ValueError, ArithmeticError, RuntimeError) as error:
        raise UsageError(f"{where}: no detector can be built: {error}".split("\n")[0]) from error
    if not all(sizes):
        raise UsageError(f"{where}: some layers would have no channels")
    reason = over_limit("MAX_PARAMETERS", sum(sizes))
    if reason:
        raise UsageError(f"{where}: parameters: {reason}")
