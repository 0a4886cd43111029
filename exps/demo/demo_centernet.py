"""CenterNet with MobileNetV2 on the drawn shapes of `make demo`, from random weights:

`python tools/train.py -n demo-centernet -b 8`, then `compress/prune.py` with `configs/centernet.yaml`.
"""

from yolox.exp.centernet import CenterNetExp
from yolox.exp.demo import on_shapes


class Exp(CenterNetExp):
    def __init__(self) -> None:
        super().__init__()
        on_shapes(self)
        self.backbone = "mobilenet_v2"
        self.basic_lr_per_img, self.scheduler = 0.001 / 8, "cos"
