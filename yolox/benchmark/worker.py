"""One case in a process of its own: its threads, its memory and its crashes are its own, too."""

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from yolox.backends import Backend, ModelInfo
from yolox.engine.meters import peak_memory_mb
from yolox.errors import YoloxError
from yolox.eval.latency import random_images, timed_ms, warm_up
from yolox.exp import get_exp
from yolox.export.open import Runtime, open_model
from yolox.families import spec_from_dict

FAILED = "failed"
PATIENCE_S = 5  # for a process to end by itself


@dataclass(frozen=True)
class Order:
    """What a worker opens and feeds with noise.

    spec: as checkpoints state it. exp_file: the experiment that knows the spec's family, where the
    toolkit does not.
    """

    file: Path
    backend: str
    precision: str
    batch: int
    size_hw: tuple[int, int]
    threads: int
    device: str
    spec: Mapping[str, Any] | None = None
    exp_file: str | None = None
    info: ModelInfo | None = None


class Worker:
    """A handle on the process, which begins to open its model at once: `wait` until it has.

    One worker at a time may be busy with timing, or they disturb each other. It is a fresh Python
    without the parent's main module: what that imports would count as the worker's memory.
    """

    def __init__(self, order: Order):
        self._pipe, theirs = Pipe()
        self._process = start(theirs)
        theirs.close()
        with suppress(OSError):  # it has died: `wait` says so
            self._pipe.send(order)

    def wait(self) -> None:
        """Until the model is open and warm. Raises YoloxError where it cannot be opened."""
        self._answer()

    def time_ms(self, count: int) -> tuple[list[float], float]:
        """Milliseconds of each of `count` batches, and the process's peak memory in MiB so far.

        Raises YoloxError where the worker has died.
        """
        try:
            self._pipe.send(count)
        except OSError as error:
            raise self._death() from error
        found: tuple[list[float], float] = self._answer()
        return found

    def stop(self) -> None:
        """Ask the process to end; `close` waits for it."""
        with suppress(OSError):
            self._pipe.send(None)

    def close(self) -> None:
        """End the process."""
        self.stop()
        self._pipe.close()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _death(self) -> YoloxError:
        self.close()
        code = self._process.returncode
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return YoloxError(f"the worker died ({how}): out of memory?")

    def _answer(self) -> Any:
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error
        if isinstance(answer, tuple) and answer[0] == FAILED:
            self.close()
            raise YoloxError(answer[1])
        return answer


def start(pipe: Connection) -> subprocess.Popen[bytes]:
    """A process that has the pipe, too, and runs `main` with it."""
    code = f"from {__name__} import main; main({pipe.fileno()})"
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, "-c", code], pass_fds=[pipe.fileno()], env=paths)


def main(descriptor: int) -> None:
    """The process: its end of the pipe is an open file descriptor."""
    with Connection(descriptor) as pipe:
        serve(pipe)


def serve(pipe: Connection) -> None:
    """Takes an order, opens its model, warms it up, then times what it is asked to."""
    order: Order = pipe.recv()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent decides
    try:
        torch.set_num_threads(order.threads)
        counted = torch.device(order.device if order.backend in ("torch", "compile") else "cpu")
        backend, images = open_order(order), random_images(order.batch, order.size_hw)
        warm_up(backend, images)
        pipe.send("ready")
        while (count := pipe.recv()) is not None:
            pipe.send((timed_ms(backend, images, count), peak_memory_mb(counted)))
    except (EOFError, BrokenPipeError):  # the parent has gone
        return
    except YoloxError as error:
        pipe.send((FAILED, str(error)))
    except Exception:  # noqa: BLE001 - told to the parent, which reports it and goes on
        pipe.send((FAILED, traceback.format_exc()))


def open_order(order: Order) -> Backend:
    """The backend that an order names. Raises YoloxError."""
    runtime = Runtime(order.backend, order.precision, torch.device(order.device), order.threads)
    spec = None
    if order.spec is not None:
        known = type(get_exp(order.exp_file).detector_spec()) if order.exp_file else None
        spec = spec_from_dict(order.spec, str(order.file), known)
    return open_model(order.file, runtime, order.size_hw, spec, info=order.info).backend
