"""One run per output folder: a lock that ends with its process, however that ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from loguru import logger

from yolox.errors import UsageError, YoloxError

try:
    import fcntl
except ImportError:  # Windows: runs are not locked against each other there
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = ".lock"


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Keep other runs out of a folder for the time of a block. The folder is made if absent.

    The file `.lock` stays, with the number of the process that locked last; the lock itself is
    the operating system's, so that a killed run leaves none. A file system without locks is said
    in a warning. Raises UsageError naming the folder and the process that has it, YoloxError where
    the folder cannot be written to.
    """
    path = Path(folder) / LOCK_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise YoloxError(f"{folder} cannot be written to: {error.strerror or error}") from error
    with file:
        _acquire(file, folder)
        _held.add(file)
        try:
            yield
        finally:
            _held.discard(file)


_held: set[IO[str]] = set()


def _acquire(file: IO[str], folder: str | Path) -> None:
    """Take the lock and leave the process's number for whoever comes next."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(f"{folder} is in use by {_owner(file)}: choose another folder") from error
    except OSError as error:
        logger.warning("{}: other runs are not kept out: {}", folder, error.strerror)
        return
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()


def _owner(file: IO[str]) -> str:
    file.seek(0)
    number = file.readline().strip()
    return f"another run (pid {number})" if number.isdigit() else "another run"


def _release_in_child() -> None:
    """A forked worker that outlives a killed run must not keep its lock."""
    for file in _held:
        file.close()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)
