"""Mixed and depthwise kernels, and a neck that reads dark2: `tools/train.py -n voc-nano-final`."""

from yolox.exp.voc_nano import VocNanoExp


class Exp(VocNanoExp):
    def __init__(self) -> None:
        super().__init__()
        self.backbone_conv = ("mixed-2", "mixed-4", "mixed-4", "mixed-4")
        self.backbone_down = self.neck_conv = "depthwise-7"
        self.head_conv = "separable-5"
        self.fpn_dark2 = True
