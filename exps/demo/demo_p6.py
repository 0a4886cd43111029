"""A small P6 detector on drawn shapes: `make demo`, or step by step

`python datasets/make_synthetic.py --out datasets/demo --size 128 --train 400 --val 120 --classes 4`
then `python tools/train.py -f exps/demo/demo_p6.py -b 8`

What to expect is in README.md, how long it takes in docs/results.md.
"""

from yolox.exp.demo import on_shapes
from yolox.exp.p6 import P6Exp


class Exp(P6Exp):
    def __init__(self) -> None:
        super().__init__()
        on_shapes(self)
        self.channels = (256, 384, 512, 512)
        self.depth = 0.33
        self.width = 0.25
        self.basic_lr_per_img = 0.004 / 8
