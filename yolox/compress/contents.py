"""Whether files are still those of an earlier run: by their content, whatever their names say."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from loguru import logger

from yolox.data.coco import load_json
from yolox.errors import DataError
from yolox.files import file_hash, write_json


class Contents:
    """SHA-256 of many files together.

    A file's hash is remembered in `memo` with its size and modification time, so that a data set
    is read once and not by every command. A damaged memo counts as an empty one.
    """

    def __init__(self, memo: Path):
        self._memo = memo
        self._known: dict[str, Any] = {}
        if memo.is_file():
            try:
                self._known = load_json(memo)
            except DataError as error:
                logger.warning("{}: all files are read again", error)

    def of(self, paths: Iterable[Path]) -> str:
        """One hash over the contents, in order. Raises DataError naming a file that is absent."""
        entries = {str(path): self._entry(path) for path in paths}
        if any(self._known.get(path) != entry for path, entry in entries.items()):
            self._known.update(entries)
            write_json(self._memo, self._known)
        digest = hashlib.sha256()
        for _, _, content in entries.values():
            digest.update(content.encode())
        return digest.hexdigest()

    def _entry(self, path: Path) -> list[Any]:
        """Size, modification time and hash of a file."""
        try:
            status = path.stat()
            looks = [status.st_size, status.st_mtime_ns]
            known = self._known.get(str(path))
            if isinstance(known, list) and len(known) == 3 and known[:2] == looks:
                return known
            return [*looks, file_hash(path)]
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
