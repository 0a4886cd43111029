"""EfficientDet (Tan 2020): a weighted feature pyramid, heads that all levels share, anchors."""

from yolox.families.efficientdet.loss import EfficientDetLoss
from yolox.families.efficientdet.spec import EfficientDetSpec

__all__ = ["EfficientDetLoss", "EfficientDetSpec"]
