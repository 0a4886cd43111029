"""A Ghost backbone: `tools/train.py -n voc-nano-ghost`."""

from yolox.exp.voc_nano import VocNanoExp


class Exp(VocNanoExp):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = "ghost"
        self.channels = (160, 320, 640)
