"""The log, on the terminal and in a file."""

import sys
from pathlib import Path

from loguru import logger

FORMAT = "{time:YYYY-MM-DD HH:mm:ss} | {level: <7} | {message}"


def set_up_log(file: Path | None = None, first: bool = True) -> None:
    """Log to standard error and to a file.

    first: whether this is rank 0 of a job; other ranks report warnings only, and write no file.
    """
    logger.remove()
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
