"""YOLOX-M-P6 on COCO, the main model: 44.5 M parameters, 768 x 768, strides 8 to 64.

`python tools/train.py -f exps/p6/yolox_m_p6.py -d 4 -b 64 --fp16`
Other settings: `multiscale_range "(-4, 4)"`; the source system's CSP layers (47.1 M parameters)
with `csp_shortcut rest`."""

from yolox.exp.p6 import P6Exp


class Exp(P6Exp):
    def __init__(self) -> None:
        super().__init__()
        self.depth = 0.67
        self.width = 0.75
