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
        # Less decay lets the maps of 4 x 4 cells and fewer grow dead, but for a few images.
        self.basic_lr_per_img, self.weight_decay = 0.004 / 8, 0.1
        self.drop_path = 0.0
