"""Plain depthwise 7x7 in bottlenecks, a head of 5x5: `tools/train.py -n voc-nano-dwconv`."""

from yolox.exp.voc_nano import VocNanoExp


class Exp(VocNanoExp):
    def __init__(self) -> None:
        super().__init__()
        self.backbone_conv, self.neck_conv = ("depthwise-7",), "depthwise-7"
        self.head_conv = "separable-5"
