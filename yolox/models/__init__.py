"""Networks, described by a `DetectorSpec`."""

from yolox.models.build import Detector, build
from yolox.models.yolox_head import Predictions

__all__ = ["Detector", "Predictions", "build"]
