"""Latency of a model as it is deployed: one process, a given batch and size, medians."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

WARMUP = 3


def latency_ms(
    backends: Mapping[str, Callable[[Tensor], Tensor]], images: Tensor, rounds: int = 20
) -> dict[str, float]:
    """Median milliseconds per batch of each backend, or of any function that waits for its result.

    They take turns within every round, so that a slow moment of the machine hits all alike: ratios
    between them can be trusted, single figures less.
    images: [B, 3, H, W] uint8 or float.
    """
    spent: dict[str, list[float]] = {name: [] for name in backends}
    for backend in backends.values():
        warm_up(backend, images)
    for _ in range(rounds):
        for name, backend in backends.items():
            spent[name] += timed_ms(backend, images, 1, warm=False)
    return {name: statistics.median(values) for name, values in spent.items()}


def warm_up(backend: Callable[[Tensor], Tensor], images: Tensor) -> None:
    """The first runs, in which memory is taken and code is made ready."""
    for _ in range(WARMUP):
        backend(images)


def timed_ms(
    backend: Callable[[Tensor], Tensor], images: Tensor, count: int, *, warm: bool = True
) -> list[float]:
    """Milliseconds of each of `count` batches.

    warm: after one that is not counted, as the caches hold what was computed before.
    """
    if warm:
        backend(images)
    found = []
    for _ in range(count):
        start = time.perf_counter()
        backend(images)
        found.append((time.perf_counter() - start) * 1000)
    return found


def random_images(batch: int, size_hw: tuple[int, int]) -> Tensor:
    """Noise of the right shape, uint8: latency does not depend on the picture."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, 3, *size_hw), generator=generator, dtype=torch.uint8)
