"""An hourglass network of fire modules: `tools/train.py -n centernet-hourglass-fire`."""

from yolox.exp.centernet import CenterNetExp


class Exp(CenterNetExp):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = "hourglass_fire"
        self.head_channels = 256
