"""Means of what a run measures of itself, its memory, and its time in words."""

import sys
from collections import defaultdict, deque
from pathlib import Path

import torch
from torch import Tensor


class Meter:
    """Means over the last values of several series, of numbers or of scalars on a device."""

    def __init__(self, window: int = 20):
        self._values: dict[str, deque[float | Tensor]] = defaultdict(lambda: deque(maxlen=window))

    def add(self, **values: float | Tensor) -> None:
        """Append one value to each series."""
        for key, value in values.items():
            self._values[key].append(value)

    def means(self) -> dict[str, float]:
        """The mean of each series. Waits once for a device."""
        flat = [value for values in self._values.values() for value in values]
        scalars = [value for value in flat if isinstance(value, Tensor)]
        alike = [value.to(scalars[0]) for value in scalars]  # a criterion may log from the host
        read = iter(torch.stack(alike).tolist() if alike else ())
        found = {}
        for key, values in self._values.items():
            numbers = [next(read) if isinstance(value, Tensor) else value for value in values]
            found[key] = sum(numbers) / len(numbers)
        return found


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory of this process: the device's allocator on CUDA, the resident set elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    if status.is_file():  # `ru_maxrss` counts the parent's memory at the time of the fork, too
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    import resource  # noqa: PLC0415 - not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def duration(seconds: float) -> str:
    """Hours, minutes and seconds as 1:02:03."""
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
