"""EfficientDet-D3: `tools/train.py -n efficientdet-d3`."""

from yolox.exp.efficientdet import EfficientDetExp


class Exp(EfficientDetExp):
    def __init__(self) -> None:
        super().__init__()
        self.scaled(896)
        self.backbone = "tf_efficientnet_b3"
        self.pyramid_channels, self.pyramid_cells, self.head_repeats = 160, 6, 4
