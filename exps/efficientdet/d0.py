"""EfficientDet-D0: `tools/train.py -n efficientdet-d0`."""

from yolox.exp.efficientdet import EfficientDetExp


class Exp(EfficientDetExp):
    def __init__(self) -> None:
        super().__init__()
        self.scaled(512)
        self.backbone = "tf_efficientnet_b0"
        self.pyramid_channels, self.pyramid_cells, self.head_repeats = 64, 3, 3
