"""How a CenterNet is built."""

from dataclasses import dataclass
from typing import ClassVar

from yolox.config import in_range, one_of
from yolox.families.base import Detector, DetectorSpec

UPSAMPLED = ("resnet18", "resnet50", "mobilenet_v2", "efficientnet_b0")  # names of torchvision
HOURGLASSES = ("hourglass104", "hourglass_fire")
STRIDES = {"hourglass104": 4, "hourglass_fire": 8}
DEEPEST = {"hourglass104": 2**5, "hourglass_fire": 2**4}  # pixels of the output per deepest cell
UPSAMPLED_STRIDE = 4
BACKBONE_STRIDE = 32  # of torchvision's networks


@dataclass(frozen=True)
class CenterNetSpec(DetectorSpec):
    """backbone: one of torchvision's, followed by a neck of deformable convolutions, or an
        hourglass network: Hourglass-104 (Newell 2016), or a smaller one of fire modules.
    head_channels: of the hidden layer of each branch of the head.
    light_head: its 3x3 convolutions are separable.
    """

    family: ClassVar[str] = "centernet"
    backbone: str = "resnet18"
    head_channels: int = 64
    light_head: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("backbone", self.backbone, (*UPSAMPLED, *HOURGLASSES))
        in_range(self, 1, ("head_channels",))

    @property
    def stride(self) -> int:
        """Pixels per cell of the heatmap."""
        return STRIDES.get(self.backbone, UPSAMPLED_STRIDE)

    @property
    def divisor(self) -> int:
        """Pixels per cell of the deepest feature: sizes must halve evenly down to there."""
        if self.backbone in HOURGLASSES:
            return STRIDES[self.backbone] * DEEPEST[self.backbone]
        return BACKBONE_STRIDE

    def build(self) -> Detector:
        """A fresh detector with random weights."""
        from yolox.families.centernet.network import CenterNetDetector  # noqa: PLC0415 - needs spec

        return CenterNetDetector(self)
