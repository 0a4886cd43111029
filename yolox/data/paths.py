"""Where the images of an annotation file lie, and which of them may be read.

What a user names (the data folder, the folder of the images) is trusted, symbolic links included.
The names in an annotation file are not: they must stay inside.
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

PROBED_IMAGES = 20  # of the images, to find the folder that holds them


def image_root(data_dir: Path, name: str, file_names: Sequence[str]) -> Path:
    """The folder that holds the images: `name` as in COCO, or one of the usual others.

    The first of them that holds one of the first images; those that are missing are named later.
    """
    candidates = [data_dir / name, data_dir, data_dir / "images" / name, data_dir / "images"]
    probes = file_names[:PROBED_IMAGES]
    # A name that is too long is no file; Path.is_file would raise an error.
    found = (r for r in candidates if any(os.path.isfile(r / p) for p in probes))  # noqa: PTH113
    return next(found, candidates[0])


def file_in(root: Path, name: str) -> str:
    """The file of that name in a folder; what ends in a slash or a dot is no folder here."""
    if name.endswith(("/", "/.")):
        return str(root / name)
    return os.path.join(root, name)  # noqa: PTH118 - a hundred thousand paths take seconds to make


class ImageFiles:
    """What is known of image files after each of their folders was listed once."""

    def __init__(self, files: Iterable[str], roots: Iterable[Path] | None):
        """roots: the folders in which files must lie when links are followed; None: anywhere."""
        self.missing: list[Path] = []
        self.outside: list[Path] = []
        self._roots = None if roots is None else [os.path.realpath(root) for root in roots]
        folders: dict[str, dict[str, bool] | None] = {}
        for file in files:
            folder, name = os.path.split(file)
            if folder not in folders:
                folders[folder] = _links_by_name(folder) if self._holds(folder) else None
            names = folders[folder]
            if names is None:
                self.outside.append(Path(file))
            elif name not in names:
                self.missing.append(Path(file))
            elif names[name] and not self._holds(file):
                self.outside.append(Path(file))

    def _holds(self, path: str) -> bool:
        """Whether a path lies below one of the roots when all links are followed."""
        if self._roots is None:
            return True
        real = Path(os.path.realpath(path))
        return any(real.is_relative_to(root) for root in self._roots)


def _links_by_name(folder: str) -> dict[str, bool]:
    """The regular files in a folder, each with whether it is a symbolic link."""
    found: dict[str, bool] = {}
    with suppress(OSError), os.scandir(folder) as entries:  # absent, or a name too long
        for entry in entries:
            with suppress(OSError):  # a link to itself
                if entry.is_file():
                    found[entry.name] = entry.is_symlink()
    return found
