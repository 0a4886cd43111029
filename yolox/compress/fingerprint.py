"""Fingerprints: plain values that differ wherever the result of a stage may differ.

Contents count, not names: other images or labels under the old paths are noticed, and a data set
that was only moved is not.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from loguru import logger

from yolox.data.annotations import load_json
from yolox.errors import DataError
from yolox.files import file_hash, write_json
from yolox.models.network import Network

MEMO = "contents.json"


@runtime_checkable
class HasFingerprint(Protocol):
    """What knows itself what its effect depends on."""

    def fingerprint(self, fingerprints: "Fingerprints") -> Any:
        """JSON-able. Raises DataError where files are gone."""


class Fingerprints:
    """Fingerprints of values, and SHA-256 of many files together.

    A file's hash is remembered in the folder's `contents.json` with its size and modification time,
    so that a data set is read once and not by every command. A damaged memo counts as an empty one.
    """

    def __init__(self, folder: Path):
        self._memo = folder / MEMO
        self._known: dict[str, Any] = {}
        if self._memo.is_file():
            try:
                self._known = load_json(self._memo)
            except DataError as error:
                logger.warning("{}: all files are read again", error)

    def of(self, value: Any) -> Any:
        """The fingerprint of a plain value, a file (its content), or a record of such.

        Raises TypeError for a value of which nobody said what its effect depends on; DataError
        where a file is gone.
        """
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Path):
            return file_hash(value)
        if isinstance(value, torch.device):
            return str(value)
        if isinstance(value, HasFingerprint):
            return value.fingerprint(self)
        if isinstance(value, Mapping):
            return {str(key): self.of(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(item) for item in value]
        if is_dataclass(value) and not isinstance(value, type | Network):
            return {field.name: self.of(getattr(value, field.name)) for field in fields(value)}
        raise TypeError(f"a {type(value).__name__} has no fingerprint")

    def contents(self, paths: Iterable[Path]) -> str:
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
            state = [status.st_size, status.st_mtime_ns]
            known = self._known.get(str(path))
            if isinstance(known, list) and len(known) == 3 and known[:2] == state:
                return known
            return [*state, file_hash(path)]
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
