"""What a run writes for people: the log on the terminal and in a file, and curves."""

import os
import socket
import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

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
        logger.add(LogFile(file), format=FORMAT, level="INFO")


def _write(message: str) -> None:
    """Write above a progress bar, where one is drawn."""
    if sys.stderr.isatty():
        from tqdm import tqdm  # noqa: PLC0415

        tqdm.write(message, file=sys.stderr, end="")
    else:
        sys.stderr.write(message)


class LogFile:
    """The log in a file. Where it cannot be written, that is said once, and the run goes on.

    What a run cannot do without are its checkpoints, which are written with an error of their own.
    """

    def __init__(self, path: Path):
        self._path = path
        self._failed = False

    def write(self, message: str) -> None:
        """Append a message."""
        if self._failed:
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(message)
        except OSError as error:
            self._failed = True  # no logger here: it is in the middle of a message
            _write(f"{self._path} cannot be written: {error.strerror}; the log ends there\n")


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
    """Curves in a TensorBoard event file. Where it cannot be written, the curves end, said once.

    Written at once: the package's own writer has a thread, whose failure is a traceback.
    """

    def __init__(self, folder: Path):
        from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415 - slow to import
        from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: PLC0415
        from tensorboard.summary.writer.record_writer import RecordWriter  # noqa: PLC0415

        self._event, self._summary = Event, Summary
        second, rest = divmod(time.time_ns(), 10**9)
        name = f"events.out.tfevents.{second}.{socket.gethostname()}.{os.getpid()}.{rest}"
        self._path = folder / name
        self._file: BinaryIO | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb")
            self._records = RecordWriter(self._file)
            self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        except OSError as error:
            self._give_up(error)

    def add(self, values: dict[str, float], step: int) -> None:
        """Record values of one step."""
        points = [self._summary.Value(tag=key, simple_value=v) for key, v in values.items()]
        summary = self._summary(value=points)
        self._write(self._event(wall_time=time.time(), step=step, summary=summary))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _write(self, event: Any) -> None:
        if self._file is None:
            return
        try:
            self._records.write(event.SerializeToString())
            self._file.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        reason = error.strerror or error
        logger.warning("{} cannot be written: {}; the curves end there", self._path, reason)
        file, self._file = self._file, None
        with suppress(OSError):  # closing tries to write what is left
            if file is not None:
                file.close()


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
