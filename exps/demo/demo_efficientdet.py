"""EfficientDet-D0 on the drawn shapes of `make demo`, from random weights:

`python tools/train.py -n demo-efficientdet -b 8`, then `compress/prune.py` with
`configs/half_macs.yaml`.
"""

from yolox.exp.demo import on_shapes
from yolox.exp.efficientdet import EfficientDetExp


class Exp(EfficientDetExp):
    def __init__(self) -> None:
        super().__init__()
        on_shapes(self)
        self.basic_lr_per_img = 0.001 / 8
