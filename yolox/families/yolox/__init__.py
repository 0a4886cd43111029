"""YOLOX (Ge 2021): anchor-free points on three or four levels, a decoupled head, SimOTA."""

from yolox.families.yolox.loss import YoloxLoss
from yolox.families.yolox.spec import LossSpec, YoloxSpec

__all__ = ["LossSpec", "YoloxLoss", "YoloxSpec"]
