"""YOLOX-X on COCO: `python tools/train.py -n yolox-x -d 8 -b 64 --fp16`.

Official result: 51.1 AP at 640, 300 epochs."""

from yolox.exp import Exp as BaseExp


class Exp(BaseExp):
    def __init__(self) -> None:
        super().__init__()
        self.depth = 1.33
        self.width = 1.25
