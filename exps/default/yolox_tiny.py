"""YOLOX-Tiny on COCO: `python tools/train.py -n yolox-tiny -d 8 -b 64 --fp16`.

Official result: 32.8 AP at 416, 300 epochs."""

from yolox.exp import Exp as BaseExp


class Exp(BaseExp):
    def __init__(self) -> None:
        super().__init__()
        self.depth = 0.33
        self.width = 0.375
        self.input_size = (416, 416)
        self.test_size = (416, 416)
        self.random_size = (10, 20)
        self.mosaic_scale = (0.5, 1.5)
        self.enable_mixup = False
