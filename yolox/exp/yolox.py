"""The experiment of a YOLOX."""

from yolox.exp.base import BaseExp
from yolox.exp.options import options_of
from yolox.families.yolox import LossSpec, YoloxLoss, YoloxSpec


@options_of(YoloxSpec, LossSpec)
class Exp(BaseExp):
    """Defaults are those of YOLOX on COCO; the attributes are those of `BaseExp` and the specs."""

    def detector_spec(self) -> YoloxSpec:
        """How to build the dense architecture."""
        return self.make(YoloxSpec)

    def get_criterion(self) -> YoloxLoss:
        """A fresh criterion: `criterion(model(images), targets)` gives the loss terms."""
        loss = self.make(LossSpec)
        return YoloxLoss(self.detector_spec().strides, loss.iou_loss, loss.iou_weight)
