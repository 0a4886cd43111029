"""One case in a process of its own: its threads, its memory and its crashes are its own, too."""

import multiprocessing
import signal
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolox.backends import Backend, ModelInfo
from yolox.config import DetectorSpec
from yolox.engine.log import peak_memory_mb
from yolox.errors import YoloxError
from yolox.eval.latency import random_images
from yolox.export.open import Runtime, open_model

WARMUP = 3
FAILED = "failed"


@dataclass(frozen=True)
class Order:
    """What a worker opens and feeds with noise."""

    file: Path
    backend: str
    precision: str
    batch: int
    size_hw: tuple[int, int]
    threads: int
    device: str
    spec: DetectorSpec | None = None
    info: ModelInfo | None = None


class Worker:
    """A handle on the process. One worker at a time may be busy, or they disturb each other."""

    def __init__(self, order: Order):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, order), daemon=True)
        self._process.start()
        theirs.close()
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

    def close(self) -> None:
        """End the process."""
        with suppress(OSError):
            self._pipe.send(None)
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _death(self) -> YoloxError:
        self._process.join(timeout=5)
        code = self._process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return YoloxError(f"the worker died ({how}): out of memory? (--at-once keeps fewer)")

    def _answer(self) -> Any:
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error
        if isinstance(answer, tuple) and answer[0] == FAILED:
            self.close()
            raise YoloxError(answer[1])
        return answer


def serve(pipe: Connection, order: Order) -> None:
    """The process: opens the model, warms it up, then times what it is asked to."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent decides
    try:
        torch.set_num_threads(order.threads)
        backend, images = open_order(order), random_images(order.batch, order.size_hw)
        for _ in range(WARMUP):
            backend(images)
        pipe.send("ready")
        while (count := pipe.recv()) is not None:
            pipe.send((_timed(backend, images, count), _peak_mb(order)))
    except EOFError:  # the parent has gone
        return
    except YoloxError as error:
        pipe.send((FAILED, str(error)))
    except Exception:  # noqa: BLE001 - told to the parent, which reports it and goes on
        pipe.send((FAILED, traceback.format_exc()))


def open_order(order: Order) -> Backend:
    """The backend that an order names. Raises YoloxError."""
    runtime = Runtime(order.backend, order.precision, torch.device(order.device), order.threads)
    opened = open_model(order.file, runtime, order.size_hw, order.spec, info=order.info)
    return opened.backend


def _timed(backend: Backend, images: Tensor, count: int) -> list[float]:
    backend(images)  # the caches hold what the worker before left in them
    found = []
    for _ in range(count):
        start = time.perf_counter()
        backend(images)
        found.append((time.perf_counter() - start) * 1000)
    return found


def _peak_mb(order: Order) -> float:
    """Of the process itself: `ru_maxrss` would include the parent's at the time of the fork."""
    status = Path("/proc/self/status")
    on_device = order.device != "cpu" and order.backend in ("torch", "compile")
    if on_device or not status.is_file():
        return peak_memory_mb(torch.device(order.device))
    line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10
