"""What arguments of every command must be: numbers in range, paths that can be, places to write."""

import argparse
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from yolox.config import MOST
from yolox.errors import UsageError
from yolox.limits import over_limit
from yolox.values import LARGEST, is_clean, shown


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ours: one line, exit code 2."""

    def parse(self, argv: Sequence[str] | None, pairs: bool = True) -> argparse.Namespace:
        """Parse, with KEY VALUE pairs anywhere among the flags. Raises UsageError.

        pairs: False for a command without such pairs, whose words may stand in their place.
        """
        args = self.parse_intermixed_args(argv) if pairs else self.parse_args(argv)
        for name, value in vars(args).items():
            for text in value if isinstance(value, list) else [value]:
                if text == "" and name != "opts":
                    self.error(f"argument {name.replace('_', '-')} is empty")
                if isinstance(text, str) and not is_clean(text):
                    self.error(f"argument {shown(text)} holds NUL, or is not valid UTF-8")
        return args

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raises UsageError."""
        raise UsageError(f"{self.prog}: {message}")


def whole(low: int = 1, high: int | str = MOST) -> Callable[[str], int]:
    """A whole number from `low` to `high`, which may be the name of a limit."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{shown(text)} is not a whole number") from None
        reason = over_limit(high, value) if isinstance(high, str) else _above(value, high)
        if value < low or reason:
            raise argparse.ArgumentTypeError(reason or f"{value} is less than {low}")
        return value

    return convert


def real(low: float = 0.0, high: float = MOST) -> Callable[[str], float]:
    """A finite number from `low` to `high`."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"{shown(text)} is not a number from {low:g} to {high:g}"
            )
        return value

    return convert


def seed(text: str) -> int:
    """A seed that torch and numpy take."""
    return whole(0, LARGEST)(text)


def path(text: str) -> Path:
    """A path that is not empty."""
    if not text or not is_clean(text):
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a path")
    return Path(text)


def _above(value: int, high: int) -> str | None:
    return f"{shown(value)} is more than {high:,}" if value > high else None


def require_writable(files: Mapping[str, str | Path | None]) -> None:
    """Raises UsageError where a file could not be written, before the work rather than after it.

    files: by the name of the argument. What is there already is left alone, and nothing stays.
    """
    for name, given in files.items():
        if given is None:
            continue
        target = Path(given)
        try:
            if target.is_dir():
                raise UsageError(f"{name} {target} is a folder")
            _try_to_write(target)
        except OSError as error:
            raise UsageError(f"{name} {shown(str(target))}: {error.strerror}") from error


def require_writable_folder(name: str, folder: str | Path) -> None:
    """Likewise for a folder that files will be written to."""
    try:
        if Path(folder).exists() and not Path(folder).is_dir():
            raise UsageError(f"{name} {folder} is a file, not a folder")
        _try_to_write(Path(folder) / "writable")
    except OSError as error:
        raise UsageError(f"{name} {shown(str(folder))}: {error.strerror}") from error


def _try_to_write(target: Path) -> None:
    """Make what `whole_file` would make, the folders too, and delete it again."""
    missing = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.with_name(f".{target.name}.{os.getpid()}.try")
    try:
        work.touch()
        work.unlink()
    finally:
        for folder in missing:
            with suppress(OSError):  # somebody else's by now
                folder.rmdir()
