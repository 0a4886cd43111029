"""Means of what a run measures of itself, its memory, and its time in words."""

import sys
from collections import defaultdict, deque
from collections.abc import Iterator

import torch


class Meter:
    """Means over the last values of several series."""

    def __init__(self, window: int = 20):
        self._values: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=window))

    def add(self, **values: float) -> None:
        """Append one value to each series."""
        for key, value in values.items():
            self._values[key].append(value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def mean(self, key: str) -> float:
        """The mean of a series, 0 where it is empty."""
        values = self._values[key]
        return sum(values) / len(values) if values else 0.0


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory of this process: the device's allocator on CUDA, the resident set elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    import resource  # noqa: PLC0415 - not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def duration(seconds: float) -> str:
    """Hours, minutes and seconds as 1:02:03."""
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
