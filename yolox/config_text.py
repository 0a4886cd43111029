"""Recipes and configurations as text: small files, read with their mistakes in one line."""

from pathlib import Path
from typing import Any

import yaml

from yolox.errors import UsageError
from yolox.files import is_file, json_object
from yolox.limits import over_limit
from yolox.values import shown


def read_text(path: Path, what: str) -> str:
    """A text file of at most MAX_CONFIG_BYTES. what: names it in messages. Raises UsageError."""
    where = f"{what} {shown(str(path))}"
    if not is_file(path):
        raise UsageError(f"{where}: no such file")
    try:
        reason = over_limit("MAX_CONFIG_BYTES", path.stat().st_size)
        if reason:
            raise UsageError(f"{where}: bytes: {reason}")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{where}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{where}: not valid UTF-8: {error}") from error


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object. Raises UsageError, also for a key that stands twice in an object."""
    try:
        return json_object(read_text(path, what))
    except ValueError as error:
        raise UsageError(f"{what} {path}: not valid JSON: {error}") from error


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, with which a few lines state gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Part of reading. Raises YAMLError at an alias."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)


# Beside YAMLError: what dates, numbers and tags raise, and nesting that is too deep.
_NOT_YAML = (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


def yaml_value(text: str) -> Any:
    """What a YAML text states. Raises ValueError saying in one line what is wrong in it."""
    try:
        return yaml.load(text, Loader=_PlainLoader)
    except _NOT_YAML as error:
        raise ValueError(f"{' '.join(str(error).split()):.300}") from error
