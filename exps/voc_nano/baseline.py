"""Stock YOLOX-nano for VOC 2007: `tools/train.py -n voc-nano-baseline`."""

from yolox.exp.voc_nano import VocNanoExp


class Exp(VocNanoExp):
    pass
