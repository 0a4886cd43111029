"""The one record that flows through the data layer, and how an image file is read."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from yolox.errors import DataError

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

_JPEG_START = b"\xff\xd8"
_JPEG_SCAN = b"\xff\xda"
_JPEG_END = b"\xff\xd9"
_PNG_START = b"\x89PNG"
_PNG_END = b"IEND"
_EXIF_ORIENTATION = 0x0112  # EXIF 2.3, table 4; 5 to 8 swap width and height


@dataclass(frozen=True)
class Sample:
    """An image with its targets.

    image: [H, W, 3] uint8, BGR.
    boxes_xyxy: [N, 4] float32, pixels of `image`.
    labels: [N] int64, contiguous class index.
    """

    image: UInt8
    boxes_xyxy: Float32
    labels: Int64

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        return self.image.shape[0], self.image.shape[1]


def is_cut_off(data: bytes) -> bool:
    """Whether an encoded JPEG or PNG lacks its end.

    Decoders fill the missing part with grey and say nothing, so it is checked here. Inside a JPEG
    scan every 0xFF byte is stuffed or a restart marker: the first end marker behind a start of
    scan is a real one (ITU T.81, B.1.1.2). Whatever stands behind the end does not matter.
    """
    if data.startswith(_JPEG_START):
        if data.endswith(_JPEG_END):
            return False
        scan = data.find(_JPEG_SCAN, _after_headers(data))
        return scan < 0 or data.find(_JPEG_END, scan) < 0
    if data.startswith(_PNG_START):
        return _PNG_END not in data
    return False


def _after_headers(data: bytes) -> int:
    """Where a JPEG's application segments end: thumbnails lie inside them."""
    place = len(_JPEG_START)
    while place + 4 <= len(data) and data[place] == 0xFF and 0xE0 <= data[place + 1] <= 0xEF:
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return place


def read_image(path: Path) -> UInt8:
    """Read an image file as [H, W, 3] uint8 BGR, with its EXIF orientation applied.

    Raises DataError, naming the file, where it is absent, cut off or no image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"image {path}: cannot be read: {error.strerror}") from error
    if is_cut_off(data):
        raise DataError(f"image {path}: the file is cut off after {len(data)} bytes")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise DataError(f"image {path}: not a readable image ({len(data)} bytes)")
    pixels: UInt8 = image
    return pixels


def header_size(path: Path) -> tuple[int, int]:
    """Width and height by the image's header, turned as its EXIF orientation says.

    Raises DataError, naming the file, where it is absent or no image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of slightly broken EXIF blocks
            with Image.open(path) as image:
                width, height = image.size
                orientation = _orientation(image)
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"image {path}: not a readable image") from error
    except OSError as error:
        raise DataError(f"image {path}: cannot be read: {error.strerror or error}") from error
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) where there is none or the block is broken."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except (SyntaxError, TypeError, ValueError):  # Pillow's words for a broken block
        return 1
