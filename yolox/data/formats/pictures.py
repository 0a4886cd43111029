"""The image files that annotations speak of."""

import os
from collections.abc import Set
from pathlib import Path

from yolox.data.folder import SUFFIXES
from yolox.errors import DataError
from yolox.files import is_file


class Pictures:
    """Images in a folder and below it, by file name or by stem.

    allow_outside: whether images may be links to files outside of the folder. Raises DataError
    where the folder is absent.
    """

    def __init__(self, folder: Path, allow_outside: bool = False):
        self._allow_outside = allow_outside
        if not folder.is_dir():
            raise DataError(f"images {folder}: no such folder (name it with --images)")
        self._folder = folder
        self._named: dict[str, list[Path]] = {}
        self._stems: dict[str, list[Path]] = {}
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                self._named.setdefault(path.name, []).append(path)
                self._stems.setdefault(path.stem, []).append(path)

    def find(self, name: str, where: str) -> Path:
        """The image of a file name, or of one without suffix, with or without folders before it.

        where: what speaks of it, for messages. Raises DataError where it is absent, or not the only
        one of its name.
        """
        found = self._found(name.replace("\\", "/"), where)
        real, root = os.path.realpath(found), os.path.realpath(self._folder)
        if not self._allow_outside and not Path(real).is_relative_to(root):
            raise DataError(
                f"{where}: {found} is a link to a file outside {self._folder} (--allow-outside "
                "reads it)"
            )
        return found

    def others(self, stems: Set[str]) -> list[Path]:
        """The images that have none of these stems, in order."""
        return [path for stem, paths in self._stems.items() if stem not in stems for path in paths]

    def _found(self, name: str, where: str) -> Path:
        inside = self._folder / name
        if inside.suffix.lower() in SUFFIXES and ".." not in inside.parts and is_file(inside):
            return inside
        plain = Path(name).name
        found = self._named.get(plain) or self._stems.get(plain) or []
        if not found and Path(plain).suffix.lower() in SUFFIXES:  # stored with another suffix
            found = self._stems.get(Path(plain).stem, [])
        if not found:
            raise DataError(f"{where}: no image {name!r} in {self._folder}")
        if len(found) > 1:
            raise DataError(f"{where}: {name!r} could be {found[0]} or {found[1]}")
        return found[0]
