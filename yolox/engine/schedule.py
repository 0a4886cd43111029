"""Learning rate and input size as pure functions of the step."""

import math

import numpy as np

from yolox.config import SizeSpec, TrainSpec

RESIZE_EVERY = 10  # steps between changes of the multi-scale size, as in YOLOX


def learning_rate(step: int, steps_per_epoch: int, peak: float, spec: TrainSpec) -> float:
    """The learning rate of a step (from 0). peak: basic_lr_per_img times the batch.

    yoloxwarmcos: quadratic warm-up, half a cosine down to `min_lr_ratio`, flat in the epochs
    without augmentation. cos: half a cosine from the start. multistep: times 0.1 at each milestone.
    """
    total = spec.max_epoch * steps_per_epoch
    warmup = spec.warmup_epochs * steps_per_epoch
    if spec.scheduler == "yoloxwarmcos":
        return _warm_cosine(
            step, peak, warmup, total - spec.no_aug_epochs * steps_per_epoch, total, spec
        )
    if step < warmup:
        return peak * (step + 1) / warmup
    if spec.scheduler == "multistep":
        passed = sum(step >= epoch * steps_per_epoch for epoch in spec.milestones)
        return peak * 0.1**passed
    return peak * 0.5 * (1 + math.cos(math.pi * step / total))


def _warm_cosine(
    step: int, peak: float, warmup: int, flat_from: int, total: int, spec: TrainSpec
) -> float:
    floor = peak * spec.min_lr_ratio
    if step <= warmup and warmup > 0:
        return (peak - spec.warmup_lr) * (step / warmup) ** 2 + spec.warmup_lr
    if step >= flat_from:
        return floor
    progress = (step - warmup) / (flat_from - warmup)
    return floor + 0.5 * (peak - floor) * (1 + math.cos(math.pi * progress))


def input_size(step: int, seed: int, spec: SizeSpec) -> tuple[int, int]:
    """(height, width) that a step trains at. It changes every `RESIZE_EVERY` steps.

    The first steps run at `input_size`. Depends on seed and step alone, so that a resumed run and
    every process agree.
    """
    low, high = spec.multiscale
    block = step // RESIZE_EVERY
    if block == 0 or low == high:
        return spec.input_size if low != high else spec.size_at(low)
    rng = np.random.default_rng([seed, 2, block])
    return spec.size_at(int(rng.integers(low, high + 1)))
