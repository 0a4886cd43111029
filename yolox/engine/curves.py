"""Scalar curves of a run: TensorBoard's files, or Weights & Biases."""

import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from loguru import logger

from yolox import dist
from yolox.defaults import LOGGERS
from yolox.errors import UsageError


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
