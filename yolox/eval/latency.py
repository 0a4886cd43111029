"""Latency of a model as it is deployed: one process, a given batch and size, medians."""

import statistics
from collections.abc import Mapping

import torch
from torch import Tensor

from yolox.eval.predict import Forward, timed

WARMUP = 3


@torch.inference_mode()
def latency_ms(
    forwards: Mapping[str, Forward], images: Tensor, rounds: int = 20
) -> dict[str, float]:
    """Median milliseconds per batch of each model.

    The models take turns within every round, so that a slow moment of the machine hits all alike:
    ratios between them can be trusted, single figures less.
    images: [B, 3, H, W] float, on the device to measure.
    """
    spent: dict[str, list[float]] = {name: [] for name in forwards}
    for number in range(WARMUP + rounds):
        for name, forward in forwards.items():
            _, seconds = timed(images.device, forward, images)
            if number >= WARMUP:
                spent[name].append(seconds * 1000)
    return {name: statistics.median(values) for name, values in spent.items()}


def random_images(batch: int, size_hw: tuple[int, int], device: torch.device) -> Tensor:
    """Noise of the right shape and memory layout: latency does not depend on the picture."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3, *size_hw, generator=generator) * 255
    return images.to(device).contiguous(memory_format=torch.channels_last)
