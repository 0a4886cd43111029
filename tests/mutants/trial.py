"""Run tests on code with a fault, in a child of a process that has torch loaded already."""

import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.mutants.walk import Mutant

MOST_MEMORY = 8 * 2**30  # bytes: a fault may ask for any amount
MOST_CPU = 60.0  # seconds of the processor beyond what the tests took without a fault
SLOWER = 4.0  # times as long as recorded: then the fault counts as a hang
WAIT = 20.0  # the same by the clock, for what waits for ever; other jobs may use the machine
PYTEST = ["-q", "--no-header", "-p", "no:cacheprovider", "--hypothesis-seed=0"]


def preload() -> None:
    """Import what takes long and holds none of our code. The children share it."""
    import cv2  # noqa: F401
    import hotcoco  # noqa: F401
    import torch
    import torch.distributed.launcher.api  # noqa: F401

    import yolox  # noqa: F401 - sets up OpenMP before torch is imported


def in_child(work: Callable[[], int], cpu: float, log: Path) -> int | None:
    """The exit code of `work` in a forked process group of its own; None where it hangs.

    cpu: seconds of the processor that it may take.
    """
    child = os.fork()
    if child == 0:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (int(cpu), int(cpu) + 5))
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        try:
            code = int(work())
        except BaseException as error:  # noqa: BLE001 - the child must not return to the caller
            sys.stderr.write(repr(error))
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    end = time.monotonic() + WAIT * cpu
    try:
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        return None
    finally:
        try:
            os.killpg(child, signal.SIGKILL)  # the rest of its group too: loaders, launched jobs
            os.waitpid(child, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def run_tests(words: Sequence[str], folder: Path, *plugins: object) -> int:
    """Pytest with these arguments, with temporary files below `folder`."""
    return int(pytest.main([*PYTEST, f"--basetemp={folder}/tests", *words], plugins=list(plugins)))


def noticed_by(mutant: Mutant, tests: Sequence[str], seconds: float, folder: Path) -> str | None:
    """Which of the tests fails with the fault in the working copy; how, where none is named.

    Files are written in the current folder, which is a copy; they are as before afterwards.
    """
    path = Path(mutant.file)
    original = path.read_text()
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()  # one of the same second and size would pass for that of the fault
    path.write_text(mutant.source)
    log = folder / "log.txt"
    try:
        cpu = MOST_CPU + SLOWER * seconds
        code = in_child(lambda: run_tests(["-x", *tests], folder), cpu, log)
    finally:
        path.write_text(original)
    if code == 0:
        return None
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", log.read_text(errors="replace"), re.MULTILINE)
    return failed[1] if failed else "a hang" if code is None else f"exit code {code}"
