"""What a run writes for people: the log on the terminal and in a file, and curves."""

import sys
from collections import defaultdict, deque
from pathlib import Path
from typing import Any, Protocol

import torch
from loguru import logger

from yolox import dist
from yolox.errors import UsageError

LOGGERS = ("tensorboard", "wandb", "none")
FORMAT = "{time:YYYY-MM-DD HH:mm:ss} | {level: <7} | {message}"


def set_up_log(file: Path | None = None) -> None:
    """Log to standard error and, on rank 0, to a file. Other ranks report warnings only."""
    logger.remove()
    first = dist.rank() == 0
    logger.add(_write, format=FORMAT, level="INFO" if first else "WARNING")
    if file is not None and first:
        file.parent.mkdir(parents=True, exist_ok=True)
        logger.add(file, format=FORMAT, level="INFO")


def _write(message: str) -> None:
    """Write above a progress bar, where one is drawn."""
    if sys.stderr.isatty():
        from tqdm import tqdm  # noqa: PLC0415

        tqdm.write(message, file=sys.stderr, end="")
    else:
        sys.stderr.write(message)


class Curves(Protocol):
    """Where scalar curves go."""

    def add(self, values: dict[str, float], step: int) -> None:
        """Record values of one step."""

    def close(self) -> None:
        """Write out what is left."""


class NoCurves:
    """Curves that nobody wants."""

    def add(self, values: dict[str, float], step: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class TensorBoardCurves:
    """Curves in TensorBoard's event files."""

    def __init__(self, folder: Path):
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - slow to import

        self._writer = SummaryWriter(str(folder))

    def add(self, values: dict[str, float], step: int) -> None:
        """Record values of one step."""
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)

    def close(self) -> None:
        """Write out what is left."""
        self._writer.close()


class WandbCurves:
    """Curves in Weights & Biases (an optional package)."""

    def __init__(self, folder: Path, name: str, options: dict[str, Any]):
        try:
            import wandb  # noqa: PLC0415 - optional
        except ImportError as error:
            raise UsageError("--logger wandb needs the package: pip install wandb") from error
        self._run = wandb.init(project="yolox", name=name, dir=str(folder), config=options)

    def add(self, values: dict[str, float], step: int) -> None:
        """Record values of one step."""
        self._run.log(values, step=step)

    def close(self) -> None:
        """Write out what is left."""
        self._run.finish()


def make_curves(kind: str, folder: Path, name: str, options: dict[str, Any]) -> Curves:
    """The curves of a run; other ranks than 0 keep none. Raises UsageError for an unknown kind."""
    if kind not in LOGGERS:
        raise UsageError(f"--logger {kind!r} is none of {', '.join(LOGGERS)}")
    if kind == "none" or dist.rank() != 0:
        return NoCurves()
    if kind == "wandb":
        return WandbCurves(folder, name, options)
    return TensorBoardCurves(folder / "tensorboard")


class Meter:
    """Means over the last values of several series."""

    def __init__(self, window: int = 20):
        self._values: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=window))

    def add(self, **values: float) -> None:
        """Append one value to each series."""
        for key, value in values.items():
            self._values[key].append(value)

    def __contains__(self, key: str) -> bool:
        return bool(self._values.get(key))

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
