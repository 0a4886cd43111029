"""Exponential moving average of a model: what is evaluated and shipped."""

import math

import torch
from torch import Tensor

from yolox.families import Detector
from yolox.models.copies import copied


def ema_decay(updates: int, decay: float, warmup: float) -> float:
    """Decay of one update, growing to `decay` over about `warmup` updates (counted from 1)."""
    return decay * (1 - math.exp(-updates / warmup))


class ModelEMA:
    """A copy of a model that follows its weights and batch-norm statistics.

    Neither of the two may be moved to another device afterwards, nor given other tensors.
    """

    def __init__(self, model: Detector, decay: float, warmup: float, updates: int = 0):
        self.model = copied(model).eval().requires_grad_(False)
        self.decay = decay
        self.warmup = warmup
        self.updates = updates
        self._averaged = _floating_point(self.model)
        self._followed = _floating_point(model)

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the model. Integer buffers are left as they are, as in YOLOX."""
        self.updates += 1
        weight = 1 - ema_decay(self.updates, self.decay, self.warmup)
        torch._foreach_lerp_(self._averaged, self._followed, weight)


def _floating_point(model: Detector) -> list[Tensor]:
    """Weights and statistics of a model, which change with it."""
    values: list[Tensor] = list(model.state_dict().values())
    return [value for value in values if value.is_floating_point()]
