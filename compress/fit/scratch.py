"""Folders for what is too large to be kept in memory."""

import shutil
import tempfile
import weakref
from pathlib import Path


class Scratch:
    """A folder that goes when nobody holds the object any more, or when the process ends."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="yolox-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
