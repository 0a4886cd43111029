"""EfficientDet-D1: `tools/train.py -n efficientdet-d1`."""

from yolox.exp.efficientdet import EfficientDetExp


class Exp(EfficientDetExp):
    def __init__(self) -> None:
        super().__init__()
        self.scaled(640)
        self.backbone = "tf_efficientnet_b1"
        self.pyramid_channels, self.pyramid_cells, self.head_repeats = 88, 4, 3
