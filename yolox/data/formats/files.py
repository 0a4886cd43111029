"""Text and XML files of annotations, read with errors that name the place."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yolox.errors import DataError
from yolox.files import open_regular
from yolox.values import shown

Element = ElementTree.Element
_FORBIDDEN = ("<!DOCTYPE", "<!ENTITY")  # entities can grow without end, or name other files


def read_text(path: Path) -> str:
    """Raises DataError where it cannot be read, or is not UTF-8."""
    try:
        with open_regular(path) as file:
            return file.read().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"annotation file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"annotation file {path}: not UTF-8 at byte {error.start}") from error


def read_xml(path: Path) -> Element:
    """The root. Raises DataError, also for a file that defines entities."""
    try:
        with open_regular(path) as file:
            data = file.read()
        if any(word.encode() in data.upper() for word in _FORBIDDEN):
            raise DataError(f"annotation file {path}: defines a document type or entities: refused")
        return ElementTree.fromstring(data)
    except OSError as error:
        raise DataError(f"annotation file {path}: {error.strerror}") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the encoding, too
        raise DataError(f"annotation file {path}: not valid XML: {error}") from error


def numbers(texts: Any, count: int, where: str) -> list[float]:
    """So many finite numbers. Raises DataError naming the place and the values."""
    values = list(texts) if isinstance(texts, list | tuple) else [texts]
    found: list[float] = []
    for text in values:
        try:
            found.append(float(text) if not isinstance(text, bool) else float("nan"))
        except (TypeError, ValueError, OverflowError):
            found.append(float("nan"))
    if len(found) != count or not all(abs(value) < float("inf") for value in found):
        raise DataError(f"{where}: {shown(values)} are not {count} numbers")
    return found


def listed(folder: Path, suffix: str, accept: Callable[[Path], bool] | None = None) -> list[Path]:
    """The annotation files of a folder, in order. Raises DataError where there is none."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found = [p for p in sorted(folder.glob(f"*{suffix}")) if accept is None or accept(p)]
    if not found:
        raise DataError(f"{folder}: holds no annotation file (*{suffix})")
    return found
