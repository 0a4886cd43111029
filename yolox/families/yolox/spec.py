"""How a YOLOX detector is built, and its loss weighted."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor

from yolox.config import MOST, one_of, require
from yolox.families.base import Detector, DetectorSpec
from yolox.models.blocks import ConvKind
from yolox.ops.points import decode_raw

ACTIVATIONS = ("silu", "relu", "lrelu", "hswish")
BACKBONES = ("csp", "darknet53", "ghost")
CSP_SHORTCUTS = ("hidden", "rest")
IOU_LOSSES = ("iou", "giou")
GHOST_WIDTHS = (40, 80, 160)  # of the Ghost backbone's levels
STEM_CHANNELS = 64  # CSPDarknet's, before `width`
HEAD_CHANNELS = 256  # before `width`
LARGEST_SCALE = 64.0  # of depth and width: YOLOX-X has 1.33 and 1.25


@dataclass(frozen=True)
class YoloxSpec(DetectorSpec):
    """P5, P6 and custom networks are values, not classes.

    strides: pixels per cell of each level, fine to coarse; each the double of the one before.
    channels: channels of each level before `width` is applied.
    csp_shortcut: what the shortcut branch of a CSP layer keeps. 'hidden' as in YOLOX (as many
        channels as the main branch), 'rest' as in the YOLOX-M-P6 source (input minus hidden).
    depthwise: whether 3x3 convolutions are separable, wherever the options below say nothing else.
    backbone_conv, neck_conv: the second convolution of bottlenecks (see `ConvKind`); that of the
        backbone once, or once for each of its stages. backbone_down, neck_down: those that halve
        the size. head_conv: those of the head's branches.
    fpn_dark2: the neck reads the backbone's feature of stride 4, too.
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
    backbone_conv: tuple[str, ...] = ()
    backbone_down: str = ""
    neck_conv: str = ""
    neck_down: str = ""
    head_conv: str = ""
    fpn_dark2: bool = False

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
            f"backbone {self.backbone!r} has the strides (8, 16, 32) only",
        )
        self._check_ghost()
        self._check_convolutions()

    def _check_ghost(self) -> None:
        if self.backbone == "ghost":
            require(
                self.widths == GHOST_WIDTHS,
                f"backbone 'ghost' makes {GHOST_WIDTHS} channels, not {self.widths}",
            )

    def _check_convolutions(self) -> None:
        """That the kinds named, and the channels they get, are possible."""
        given = (self.backbone_conv, self.backbone_down, self.neck_conv, self.neck_down)
        if self.backbone == "darknet53":
            require(not any((*given, self.fpn_dark2)), "backbone 'darknet53' has no such options")
            return
        if self.backbone == "ghost":
            options = (self.backbone_conv, self.backbone_down, self.fpn_dark2)
            require(not any(options), "backbone 'ghost' has no options of its own")
        else:
            stages = self.stage_widths
            require(min(stages) > 0, f"width {self.width:g} leaves a stage without channels")
            down = self.kind("backbone_down")
            for kind, (before, after) in zip(self.backbone_convs, pairwise(stages), strict=True):
                kind.check(after // 2, after // 2)
                down.check(before, after)
        fine = self.widths[0]
        require(
            not self.fpn_dark2 or all(width % fine == 0 for width in self.widths),
            f"fpn_dark2: channels {self.widths} are not all multiples of {fine}",
        )
        if self.fpn_dark2:
            ConvKind("depthwise-3").check(self.stage_widths[1], fine)
        for width in self.widths:
            self.kind("neck_conv").check(width // 2, width // 2)
            self.kind("neck_down").check(width, width)
        head = int(HEAD_CHANNELS * self.width)
        self.kind("head_conv").check(head, head)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(int(channels * self.width) for channels in self.channels)

    @property
    def stage_widths(self) -> tuple[int, ...]:
        """Channels of CSPDarknet's stem and stages; the first two are before the levels."""
        stem = int(STEM_CHANNELS * self.width)
        return (stem, stem * 2, *self.widths)

    def kind(self, option: str) -> ConvKind:
        """The convolution that an option names. Raises ValueError."""
        return self._kind(option, getattr(self, option))

    @property
    def backbone_convs(self) -> list[ConvKind]:
        """`backbone_conv` of each of the backbone's stages. Raises ValueError."""
        stages, given = len(self.strides) + 1, self.backbone_conv or ("",)
        require(
            len(given) in (1, stages), f"backbone_conv {given} names neither one kind nor {stages}"
        )
        kinds = [self._kind("backbone_conv", text) for text in given]
        return kinds * (stages // len(kinds))

    def _kind(self, option: str, text: str) -> ConvKind:
        """The convolution of a text, or what `depthwise` says where it is empty."""
        try:
            return ConvKind(text or ("separable-3" if self.depthwise else "dense-3"))
        except ValueError as error:
            raise ValueError(f"{option}: {error}") from error

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
