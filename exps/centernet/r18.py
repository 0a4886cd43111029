"""ResNet-18 and a neck of deformable convolutions: `tools/train.py -n centernet-r18`."""

from yolox.exp.centernet import CenterNetExp


class Exp(CenterNetExp):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = "resnet18"
