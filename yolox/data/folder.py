"""Images of a folder, without targets."""

from collections.abc import Sequence
from pathlib import Path

from yolox.data.image import read_image
from yolox.data.sample import UInt8
from yolox.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


class ImageFolder:
    """Images by number, read when asked for."""

    def __init__(self, paths: Sequence[Path]):
        self.paths = list(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def read_image(self, index: int) -> UInt8:
        """[H, W, 3] uint8 BGR. Raises DataError naming the file."""
        return read_image(self.paths[index])


def find_images(path: Path) -> ImageFolder:
    """One image file, or all images below a folder in the order of their paths.

    Raises DataError where there is none.
    """
    if path.is_file():
        return ImageFolder([path])
    if not path.is_dir():
        raise DataError(f"images {path}: no such file or folder")
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(f"images {path}: the folder holds no image ({', '.join(SUFFIXES)})")
    return ImageFolder(found)
