"""YOLOX-Nano on COCO: `python tools/train.py -n yolox-nano -d 8 -b 64 --fp16`.

Official result: 25.8 AP at 416, 300 epochs. Depthwise separable throughout."""

from yolox.exp import Exp as BaseExp


class Exp(BaseExp):
    def __init__(self) -> None:
        super().__init__()
        self.depth = 0.33
        self.width = 0.25
        self.depthwise = True
        self.input_size = (416, 416)
        self.test_size = (416, 416)
        self.random_size = (10, 20)
        self.mosaic_scale = (0.5, 1.5)
        self.mosaic_prob = 0.5
        self.enable_mixup = False
