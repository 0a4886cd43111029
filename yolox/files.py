"""Files that are written whole or not at all, and their hashes."""

import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from yolox.errors import YoloxError

PARTIAL = ".partial"  # ending of files that are being written


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` when the block ends without an error.

    What was written is flushed to the disk before it is renamed, so that a crash, of the machine
    too, leaves either the old file or the new one. The folder is made where it is absent.
    Raises YoloxError in one line where the disk is full, read-only or gone; no partial file stays.
    """
    work = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield work
            _flush(work)
            work.replace(path)
            with suppress(OSError):  # not every system lets a folder be opened or flushed
                _flush(path.parent)
        finally:
            with suppress(OSError):
                work.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):  # torch.save hides one in a RuntimeError
            raise
        raise YoloxError(
            f"{path} cannot be written: {cause.strerror or cause}; what was there before is kept"
        ) from error


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file to read bytes, if it is a regular one.

    A pipe or a device is refused instead of waited for. Raises OSError, also for a name that no
    file can have.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        number = os.open(path, flags)
    except ValueError as error:  # NUL bytes, or letters that the file system cannot write
        raise OSError(errno.EINVAL, str(error)) from error
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "it is no regular file")
    return os.fdopen(number, "rb")


def is_file(path: str | Path) -> bool:
    """Whether a path is a file, also for names that no file can have."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # too long, or with NUL in it
        return False


def remove_partials(folder: Path) -> list[Path]:
    """Delete what killed processes left half written in a folder; returns what was deleted."""
    found = sorted(folder.glob(f".*{PARTIAL}")) if folder.is_dir() else []
    for path in found:
        path.unlink(missing_ok=True)
    return found


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write a JSON file whole. Raises like `whole_file`."""
    write_text(path, json.dumps(content, indent=indent))


def write_text(path: Path, content: str) -> None:
    """Write a text file whole. Raises like `whole_file`."""
    with whole_file(path) as work:
        work.write_text(content, encoding="utf-8")


def json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object. Raises ValueError, also where a key stands twice: one would be lost."""
    try:
        content = json.loads(text, object_pairs_hook=_without_repeats)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("expected a JSON object at the top")
    return content


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"key {twice!r} stands twice in one object")
    return made


def text_hash(content: Any) -> str:
    """SHA-256 of a value's JSON with sorted keys: equal values have equal hashes."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


class TemporaryFolder:
    """A folder for what is too large for memory.

    It goes when nobody holds the object any more, or when the process ends.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="yolox-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
