"""The experiment of an EfficientDet."""

from yolox.exp.base import BaseExp
from yolox.exp.options import options_of
from yolox.families.efficientdet import EfficientDetLoss, EfficientDetSpec


@options_of(EfficientDetSpec)
class EfficientDetExp(BaseExp):
    """D0 on COCO's 80 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.scaled(512)
        self.multiscale_range = 0
        self.mosaic_prob, self.enable_mixup = 0.5, False
        self.mosaic_scale = (0.5, 1.5)
        self.optimizer, self.weight_decay, self.clip_grad_norm = "adamw", 1e-4, 10.0
        self.basic_lr_per_img = 1e-3 / 16
        self.nmsthre, self.multi_class = 0.5, True
        self.max_candidates, self.max_detections = 5000, 100

    def scaled(self, size: int) -> None:
        """Square inputs of so many pixels."""
        self.input_size = self.test_size = (size, size)

    def detector_spec(self) -> EfficientDetSpec:
        """How to build the dense architecture."""
        return self.make(EfficientDetSpec)

    def get_criterion(self) -> EfficientDetLoss:
        """A fresh criterion."""
        return EfficientDetLoss(self.detector_spec().anchor_scale)
