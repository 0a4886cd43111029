"""CenterNet (Zhou 2019): objects are peaks of a heatmap of their centres."""

from yolox.families.centernet.loss import CenterNetLoss
from yolox.families.centernet.spec import CenterNetSpec

__all__ = ["CenterNetLoss", "CenterNetSpec"]
