"""The neck reads the backbone's stage dark2, too: `tools/train.py -n voc-nano-fpn-dark2`."""

from yolox.exp.voc_nano import VocNanoExp


class Exp(VocNanoExp):
    def __init__(self) -> None:
        super().__init__()
        self.fpn_dark2 = True
