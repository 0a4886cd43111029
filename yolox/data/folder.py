"""Images of a folder, without targets."""

from collections.abc import Sequence
from pathlib import Path

from yolox.data.image import read_image
from yolox.data.sample import UInt8
from yolox.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


class ImageFolder:
    """Images by number, read when asked for. root: the folder that they lie in or below."""

    def __init__(self, paths: Sequence[Path], root: Path = Path()):
        self.paths = list(paths)
        self.root = root

    def __len__(self) -> int:
        return len(self.paths)

    def read_image(self, index: int) -> UInt8:
        """[H, W, 3] uint8 BGR. Raises DataError naming the file."""
        return read_image(self.paths[index])

    def ids(self) -> list[int | str]:
        """An id for each image, by its file name: no two are the same.

        The name without suffix, as a number where it is one; where two images share that, the
        path below the root, without suffix or, if that is not enough, with it.
        """
        inside = [path.relative_to(self.root) for path in self.paths]
        stems = [path.stem for path in inside]
        numbers: list[int | str] = [int(s) if s.isascii() and s.isdigit() else s for s in stems]
        short: list[int | str] = [path.with_suffix("").as_posix() for path in inside]
        full: list[int | str] = [path.as_posix() for path in inside]
        return next(ids for ids in (numbers, short, full) if len(set(ids)) == len(ids))


def find_images(path: Path) -> ImageFolder:
    """One image file, or all images below a folder in the order of their paths.

    Links to images are followed: it was the user who named the folder. Raises DataError where
    there is none; what is no regular file is refused when it is read.
    """
    try:
        if path.is_file():
            return ImageFolder([path], path.parent)
        if not path.is_dir():
            raise DataError(f"images {path}: no such file or folder")
        named = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        found = [p for p in named if not p.is_dir()]
    except OSError as error:
        raise DataError(f"images {path}: {error.strerror}") from error
    if not found:
        raise DataError(f"images {path}: the folder holds no image ({', '.join(SUFFIXES)})")
    return ImageFolder(found, path)
