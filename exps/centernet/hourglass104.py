"""Hourglass-104: `tools/train.py -n centernet-hourglass104`."""

from yolox.exp.centernet import CenterNetExp


class Exp(CenterNetExp):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = "hourglass104"
        self.head_channels = 256
