"""YOLOX-M on COCO: `python tools/train.py -n yolox-m -d 8 -b 64 --fp16`.

Official result: 46.9 AP at 640, 300 epochs."""

from yolox.exp import Exp as BaseExp


class Exp(BaseExp):
    def __init__(self) -> None:
        super().__init__()
        self.depth = 0.67
        self.width = 0.75
