"""What checkpoint files hold, remembered: unpacking takes long, and commands read a file often."""

import copy
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from yolox.engine import checkpoint

_load = checkpoint._load


def unpacked(path: Path) -> Any:
    """The same as `checkpoint._load`, which is asked once for a file; each caller has a copy."""
    try:
        return copy.deepcopy(_once(path, hashlib.sha256(path.read_bytes()).digest()))
    except RecursionError:
        return _load(path)


@lru_cache(maxsize=32)
def _once(path: Path, digest: bytes) -> Any:
    """digest: of what the file holds now."""
    return _load(path)
