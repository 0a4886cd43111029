"""Exponential moving average of a model: what is evaluated and shipped."""

import copy
import math

import torch

from yolox.families import Detector


def ema_decay(updates: int, decay: float, warmup: float) -> float:
    """Decay of one update, growing to `decay` over about `warmup` updates (counted from 1)."""
    return decay * (1 - math.exp(-updates / warmup))


class ModelEMA:
    """A copy of a model that follows its weights and batch-norm statistics."""

    def __init__(self, model: Detector, decay: float, warmup: float, updates: int = 0):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.warmup = warmup
        self.updates = updates

    @torch.no_grad()
    def update(self, model: Detector) -> None:
        """Move towards the model. Integer buffers are left as they are, as in YOLOX."""
        self.updates += 1
        weight = 1 - ema_decay(self.updates, self.decay, self.warmup)
        source = model.state_dict()
        averaged, current = [], []
        for key, value in self.model.state_dict().items():
            if value.is_floating_point():
                averaged.append(value)
                current.append(source[key].detach())
        torch._foreach_lerp_(averaged, current, weight)
