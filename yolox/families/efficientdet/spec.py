"""How an EfficientDet is built."""

from dataclasses import dataclass
from typing import ClassVar

from yolox.config import MOST, in_range, one_of, require
from yolox.families.base import Detector, DetectorSpec

BACKBONES = tuple(f"tf_efficientnet_b{number}" for number in range(9))  # names of timm
FUSIONS = ("weighted", "sum")
STRIDES = (8, 16, 32, 64, 128)


@dataclass(frozen=True)
class EfficientDetSpec(DetectorSpec):
    """The defaults are D0's.

    backbone: an EfficientNet of timm. pyramid_channels, pyramid_cells: width of the BiFPN, and how
        often it is repeated. head_repeats: convolutions of each branch of the head before its
        predictions. fusion: learnt weights, or a plain 'sum' (D6, D7).
    anchor_scale: side of the smallest square anchor of a level, in strides.
    drop_path: share of residual branches of the backbone's end that are left out in training,
        fewer before it (Huang 2016).
    """

    family: ClassVar[str] = "efficientdet"
    num_classes: int = 90
    backbone: str = "tf_efficientnet_b0"
    pyramid_channels: int = 64
    pyramid_cells: int = 3
    head_repeats: int = 3
    fusion: str = "weighted"
    anchor_scale: float = 4.0
    drop_path: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("backbone", self.backbone, BACKBONES)
        one_of("fusion", self.fusion, FUSIONS)
        in_range(self, 1, ("pyramid_channels", "pyramid_cells", "head_repeats"))
        scale = self.anchor_scale
        require(0 < scale <= MOST, f"anchor_scale {scale} is not a positive number below {MOST:,}")
        require(0 <= self.drop_path < 1, f"drop_path {self.drop_path} is not between 0 and 1")

    @property
    def divisor(self) -> int:
        """The largest stride: every level halves the one before evenly."""
        return STRIDES[-1]

    def build(self) -> Detector:
        """A fresh detector with random weights. Raises UsageError where timm is not installed."""
        from yolox.families.efficientdet.network import EfficientDetDetector  # noqa: PLC0415

        return EfficientDetDetector(self)
