"""EfficientDet-D4: `tools/train.py -n efficientdet-d4`."""

from yolox.exp.efficientdet import EfficientDetExp


class Exp(EfficientDetExp):
    def __init__(self) -> None:
        super().__init__()
        self.scaled(1024)
        self.backbone = "tf_efficientnet_b4"
        self.pyramid_channels, self.pyramid_cells, self.head_repeats = 224, 7, 4
