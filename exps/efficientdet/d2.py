"""EfficientDet-D2: `tools/train.py -n efficientdet-d2`."""

from yolox.exp.efficientdet import EfficientDetExp


class Exp(EfficientDetExp):
    def __init__(self) -> None:
        super().__init__()
        self.scaled(768)
        self.backbone = "tf_efficientnet_b2"
        self.pyramid_channels, self.pyramid_cells, self.head_repeats = 112, 5, 3
