"""What the P6 experiments share: four levels at 768 x 768 and the source system's training."""

from yolox.exp.yolox import Exp


class P6Exp(Exp):
    """Strides 8 to 64; input sizes are multiples of 64."""

    def __init__(self) -> None:
        super().__init__()
        self.strides = (8, 16, 32, 64)
        self.channels = (256, 512, 768, 1024)
        self.input_size = (768, 768)
        self.test_size = (768, 768)
        self.multiscale_range = (-3, 1)
        self.iou_loss = "giou"
