"""Processes that measure latency, forked by one that has torch loaded: that takes seconds each."""

import multiprocessing
import subprocess
from multiprocessing.connection import Connection

from yolox.benchmark.worker import serve

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["yolox.benchmark.worker", "onnxruntime", "openvino"])


class Forked:
    """Takes the place of the `Popen` that `yolox.benchmark.worker.start` gives."""

    def __init__(self, pipe: Connection):
        self._process = SERVER.Process(target=serve, args=(pipe,), daemon=True)
        self._process.start()

    @property
    def returncode(self) -> int | None:
        """Of a process that has ended; minus the number of the signal that ended it."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> None:
        """Raises TimeoutExpired where the process goes on."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("worker", timeout or 0.0)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
