"""The built-in EfficientDet, narrow."""

from yolox.exp.efficientdet import EfficientDetExp


class Exp(EfficientDetExp):
    pyramid_channels, pyramid_cells, head_repeats = 16, 2, 1
