"""Files from the network: known ones, resumed after a break, checked before they get their name."""

import hashlib
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loguru import logger

from yolox.errors import DataError
from yolox.files import file_hash

CHUNK = 2**20  # bytes
TRIES = 5
PATIENCE_S = 30.0  # for an answer
SPARE = 1.05  # of the space that a file needs, and its content when it is unpacked

VOC_TERMS = "images are Flickr's, under its terms; free for research (see the VOC site)"
COCO_TERMS = "annotations CC BY 4.0; images are Flickr's, under its terms"
YOLOX_TERMS = "Apache-2.0, Megvii"


@dataclass(frozen=True)
class Download:
    """A file to fetch. folder: where to, by default. holds: what an archive has inside; None for
    a file that is used as it is. md5: where its publisher states it.
    """

    url: str
    folder: str
    licence: str
    holds: str | None = None
    md5: str | None = None

    @property
    def name(self) -> str:
        """Its file name."""
        return self.url.rsplit("/", 1)[-1]


_VOC = "http://host.robots.ox.ac.uk/pascal/VOC"
_COCO = "http://images.cocodataset.org"
_YOLOX = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0"


def _coco(name: str, holds: str) -> Download:
    return Download(f"{_COCO}/{name}", "datasets/COCO", COCO_TERMS, holds)


KNOWN: dict[str, tuple[Download, ...]] = {
    "voc2007": (
        Download(
            f"{_VOC}/voc2007/VOCtrainval_06-Nov-2007.tar",
            "datasets",
            VOC_TERMS,
            "VOCdevkit/VOC2007/ImageSets/Main/trainval.txt",
            "c52e279531787c972589f7e41ab4ae64",
        ),
        Download(
            f"{_VOC}/voc2007/VOCtest_06-Nov-2007.tar",
            "datasets",
            VOC_TERMS,
            "VOCdevkit/VOC2007/ImageSets/Main/test.txt",
            "b6e924de25625d8de591ea690078ad9f",
        ),
    ),
    "voc2012": (
        Download(
            f"{_VOC}/voc2012/VOCtrainval_11-May-2012.tar",
            "datasets",
            VOC_TERMS,
            "VOCdevkit/VOC2012/ImageSets/Main/trainval.txt",
            "6cd6e144f989b92b3379bac3b3de84fd",
        ),
    ),
    "coco": (
        _coco("annotations/annotations_trainval2017.zip", "annotations/instances_train2017.json"),
        _coco("zips/val2017.zip", "val2017"),
        _coco("zips/train2017.zip", "train2017"),
    ),
    **{
        f"yolox_{size}": (Download(f"{_YOLOX}/yolox_{size}.pth", "weights", YOLOX_TERMS),)
        for size in ("nano", "tiny", "s", "m", "l", "x")
    },
    "yolox_darknet": (Download(f"{_YOLOX}/yolox_darknet.pth", "weights", YOLOX_TERMS),),
}


def fetch(item: Download, folder: Path) -> Path:
    """Fetch a file to a folder, or take the one that is there. Returns its path.

    A part of it is `NAME.part`, which the next call goes on with. Raises DataError naming the
    address where the server, the space on the disk or the content is at fault; a file that is there
    and whole is never written over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / item.name
    if path.exists():
        if item.md5 is not None and _md5(path) != item.md5:
            raise DataError(f"{path} is not what {item.url} has (MD5): move it away")
        logger.info("{} is there already", path)
        return path
    part = path.with_name(f"{path.name}.part")
    error: Exception | None = None
    for number in range(TRIES):
        try:
            _transfer(item, part)
            break
        except (urllib.error.HTTPError, _Refused) as refused:
            raise DataError(f"{item.url}: {refused}") from refused
        except (OSError, urllib.error.URLError) as broken:
            error = broken
            logger.warning("{}: {} (try {} of {})", item.url, broken, number + 1, TRIES)
    else:
        raise DataError(f"{item.url}: {error}; what is there stays in {part}") from error
    if item.md5 is not None and _md5(part) != item.md5:
        part.unlink()
        raise DataError(f"{item.url}: what came is not what its publisher states (MD5)")
    part.rename(path)
    logger.info("{}: {} bytes, SHA-256 {}", path, path.stat().st_size, file_hash(path))
    return path


class _Refused(Exception):  # noqa: N818 - another try would end alike
    """No further try is worth it."""


def _transfer(item: Download, part: Path) -> None:
    """Add what is missing. Raises OSError where the connection ends too early, `_Refused`."""
    there = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(item.url)
    if there:
        request.add_header("Range", f"bytes={there}-")
    try:
        response = urllib.request.urlopen(request, timeout=PATIENCE_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and there:  # nothing is missing, or it is another file
            part.unlink()
            raise OSError("the part that is there does not fit, it is fetched anew") from error
        raise
    with response:
        goes_on = response.status == 206
        size = _whole_size(response, there if goes_on else 0)
        _require_space(part.parent, item, size, there if goes_on else 0)
        with part.open("ab" if goes_on else "wb") as file:
            shutil.copyfileobj(response, file, CHUNK)
    if size is not None and part.stat().st_size != size:
        raise OSError(f"{part.stat().st_size} of {size} bytes came")


def _whole_size(response: Any, there: int) -> int | None:
    length = response.headers.get("Content-Length")
    return there + int(length) if length is not None and length.isdecimal() else None


def _require_space(folder: Path, item: Download, size: int | None, there: int) -> None:
    """Raises `_Refused` where the file, and its content when it is unpacked, do not fit."""
    if size is None:
        return
    needed = (size - there) * SPARE + (size * SPARE if item.holds is not None else 0)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise _Refused(
            f"needs {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are free"
        )


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            digest.update(data)
    return digest.hexdigest()


def unpack(path: Path, folder: Path) -> None:
    """Unpack a .tar or .zip archive. Raises DataError where it is damaged or leaves the folder."""
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    _require_inside(folder, name, path)
                archive.extractall(folder)
        else:
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path} cannot be unpacked: {error}") from error


def _require_inside(folder: Path, name: str, path: Path) -> None:
    root, target = os.path.realpath(folder), os.path.realpath(folder / name)
    if os.path.commonpath([root, target]) != root:
        raise DataError(f"{path} cannot be unpacked: {name!r} lies outside")
