"""YOLOX-L on COCO: `python tools/train.py -n yolox-l -d 8 -b 64 --fp16`.

Official result: 49.7 AP at 640, 300 epochs."""

from yolox.exp import Exp as BaseExp


class Exp(BaseExp):
    def __init__(self) -> None:
        super().__init__()
        self.depth = 1.0
        self.width = 1.0
