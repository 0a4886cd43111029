"""CenterNet with the small hourglass network on the drawn shapes of `make demo`:

`python tools/train.py -n demo-centernet -b 8`, then `compress/prune.py` with
`configs/half_macs.yaml`. The other backbones need pretrained weights, or far more images and time.
"""

from yolox.exp.centernet import CenterNetExp
from yolox.exp.demo import on_shapes


class Exp(CenterNetExp):
    def __init__(self) -> None:
        super().__init__()
        on_shapes(self)
        self.backbone, self.head_channels, self.light_head = "hourglass_fire", 256, True
        self.basic_lr_per_img, self.scheduler = 0.001 / 8, "cos"
        self.max_epoch, self.no_aug_epochs = 8, 2
