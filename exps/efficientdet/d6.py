"""EfficientDet-D6: `tools/train.py -n efficientdet-d6`."""

from yolox.exp.efficientdet import EfficientDetExp


class Exp(EfficientDetExp):
    def __init__(self) -> None:
        super().__init__()
        self.scaled(1280)
        self.backbone = "tf_efficientnet_b6"
        self.pyramid_channels, self.pyramid_cells, self.head_repeats = 384, 8, 5
        self.fusion = "sum"
