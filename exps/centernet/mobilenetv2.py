"""MobileNetV2 and a neck of deformable convolutions: `tools/train.py -n centernet-mobilenetv2`."""

from yolox.exp.centernet import CenterNetExp


class Exp(CenterNetExp):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = "mobilenet_v2"
