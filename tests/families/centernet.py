"""The built-in CenterNet with a small backbone of deformable convolutions."""

from yolox.exp.centernet import CenterNetExp


class Exp(CenterNetExp):
    backbone = "mobilenet_v2"
    head_channels = 16
