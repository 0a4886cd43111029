"""Criteria: they judge predictions against targets; the model knows nothing of them."""

from yolox.losses.yolox_loss import YoloxLoss

__all__ = ["YoloxLoss"]
