"""Mixed depthwise kernels in the backbone, 7x7 in the neck: `tools/train.py -n voc-nano-mdconv`."""

from yolox.exp.voc_nano import VocNanoExp


class Exp(VocNanoExp):
    def __init__(self) -> None:
        super().__init__()
        self.backbone_conv = ("mixed-2", "mixed-4", "mixed-4", "mixed-4")
        self.neck_conv = self.neck_down = "separable-7"
