"""ResNet-50 and a neck of deformable convolutions: `tools/train.py -n centernet-r50`."""

from yolox.exp.centernet import CenterNetExp


class Exp(CenterNetExp):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = "resnet50"
