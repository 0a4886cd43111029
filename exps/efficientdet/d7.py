"""EfficientDet-D7: `tools/train.py -n efficientdet-d7`."""

from yolox.exp.efficientdet import EfficientDetExp


class Exp(EfficientDetExp):
    def __init__(self) -> None:
        super().__init__()
        self.scaled(1536)
        self.backbone = "tf_efficientnet_b6"
        self.pyramid_channels, self.pyramid_cells, self.head_repeats = 384, 8, 5
        self.fusion = "sum"
        self.anchor_scale = 5.0
