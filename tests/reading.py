"""What checkpoint files hold, remembered: unpacking takes long, and commands read a file often."""

import hashlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

from torch import Tensor

from yolox.engine import checkpoint

_load = checkpoint._load
FILES = 32  # remembered at most


class Unpacked:
    """What torch unpacks; for files of the same bytes it is asked once. Each caller has a copy."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Any] = OrderedDict()

    def __call__(self, path: Path) -> Any:
        """The same as `checkpoint._load`."""
        digest = hashlib.sha256(path.read_bytes()).digest()
        if digest not in self._known:
            content = _load(path)
            try:
                self._known[digest] = _copy(content)
            except RecursionError:
                return content
        self._known.move_to_end(digest)
        while len(self._known) > FILES:
            self._known.popitem(last=False)
        return _copy(self._known[digest])


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return type(value)((key, _copy(part)) for key, part in value.items())
    if isinstance(value, list | tuple):
        return type(value)(map(_copy, value))
    return value
