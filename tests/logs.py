"""What the log says."""

from collections.abc import Iterator
from contextlib import contextmanager

from loguru import logger


@contextmanager
def logged(level: str = "DEBUG") -> Iterator[list[str]]:
    """Messages from a level on, a line each, as they come."""
    lines: list[str] = []
    sink = logger.add(lines.append, level=level, format="{message}")
    try:
        yield lines
    finally:
        logger.remove(sink)
