"""How a YOLOX detector is built, and its loss weighted."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from yolox.config import MOST, one_of, require
from yolox.families.base import Detector, DetectorSpec
from yolox.ops.points import decode_raw

ACTIVATIONS = ("silu", "relu", "lrelu", "hswish")
BACKBONES = ("csp", "darknet53")
CSP_SHORTCUTS = ("hidden", "rest")
IOU_LOSSES = ("iou", "giou")
LARGEST_SCALE = 64.0  # of depth and width: YOLOX-X has 1.33 and 1.25


@dataclass(frozen=True)
class YoloxSpec(DetectorSpec):
    """P5, P6 and custom networks are values, not classes.

    strides: pixels per cell of each level, fine to coarse; each the double of the one before.
    channels: channels of each level before `width` is applied.
    csp_shortcut: what the shortcut branch of a CSP layer keeps. 'hidden' as in YOLOX (as many
        channels as the main branch), 'rest' as in the YOLOX-M-P6 source (input minus hidden).
    """

    family: ClassVar[str] = "yolox"
    has_flat: ClassVar[bool] = True
    depth: float = 1.0
    width: float = 1.0
    strides: tuple[int, ...] = (8, 16, 32)
    channels: tuple[int, ...] = (256, 512, 1024)
    backbone: str = "csp"
    act: str = "silu"
    depthwise: bool = False
    csp_shortcut: str = "hidden"

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("depth", "width"):
            scale = getattr(self, key)
            require(scale > 0, f"{key} {scale} is not positive")
            require(scale <= LARGEST_SCALE, f"{key} {scale} is more than {LARGEST_SCALE:g}")
        one_of("act", self.act, ACTIVATIONS)
        one_of("backbone", self.backbone, BACKBONES)
        one_of("csp_shortcut", self.csp_shortcut, CSP_SHORTCUTS)
        expected = tuple(8 << level for level in range(len(self.strides)))
        require(
            self.strides == expected and len(self.strides) in (3, 4),
            f"strides {self.strides} are neither (8, 16, 32) nor (8, 16, 32, 64)",
        )
        require(
            len(self.channels) == len(self.strides),
            f"channels {self.channels} do not fit strides {self.strides}",
        )
        require(
            all(1 <= count <= MOST for count in self.channels),
            f"channels {self.channels} are not all between 1 and {MOST:,}",
        )
        require(
            self.backbone == "csp" or len(self.strides) == 3,
            "backbone 'darknet53' has the strides (8, 16, 32) only",
        )

    @property
    def divisor(self) -> int:
        """The largest stride."""
        return self.strides[-1]

    def build(self) -> Detector:
        """A fresh detector with random weights."""
        from yolox.families.yolox.network import YoloxDetector  # noqa: PLC0415 - it needs the spec

        return YoloxDetector(self)

    @classmethod
    def decode_flat(
        cls, flat: Tensor, size_hw: tuple[int, int], strides: tuple[int, ...]
    ) -> Tensor:
        """Decode the boxes of predictions that were exported as official YOLOX does."""
        return decode_raw(flat, size_hw, strides)


@dataclass(frozen=True)
class LossSpec:
    """The YOLOX loss. iou_loss: 'iou' (1 - IoU^2) as in YOLOX, or 'giou' (1 - GIoU)."""

    iou_loss: str = "iou"
    iou_weight: float = 5.0

    def __post_init__(self) -> None:
        one_of("iou_loss", self.iou_loss, IOU_LOSSES)
        require(
            0 < self.iou_weight < math.inf, f"iou_weight {self.iou_weight} is not a positive number"
        )
