"""YOLOX-X-P6 on COCO: `python tools/train.py -f exps/p6/yolox_x_p6.py -d 4 -b 64 --fp16`."""

from yolox.exp.p6 import P6Exp


class Exp(P6Exp):
    def __init__(self) -> None:
        super().__init__()
        self.depth = 1.33
        self.width = 1.25
