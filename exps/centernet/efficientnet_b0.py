"""EfficientNet-B0, deformable convolutions: `tools/train.py -n centernet-efficientnet-b0`."""

from yolox.exp.centernet import CenterNetExp


class Exp(CenterNetExp):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = "efficientnet_b0"
