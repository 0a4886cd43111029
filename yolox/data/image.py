"""How an image file is read: nothing but regular files, and never more pixels than allowed."""

import os
import struct
import threading
import warnings
import zlib
from collections.abc import Container, Iterator
from contextlib import contextmanager
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from yolox.data.sample import UInt8
from yolox.errors import DataError, UsageError, YoloxError
from yolox.files import open_regular, whole_file
from yolox.limits import limit, over_limit

MOST_BYTES_PER_PIXEL = 8  # four channels of 16 bits, not compressed

_JPEG_START = b"\xff\xd8"
_JPEG_SCAN = {0xDA}
_JPEG_END = b"\xff\xd9"
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # ITU T.81, table B.1: they state the size
_JPEG_ALONE = {0x00, 0x01, *range(0xD0, 0xD9)}  # markers without a length
_PNG_START = b"\x89PNG"
_PNG_END = b"IEND"
_PNG_SIZE = 16  # where the first chunk, IHDR, states width and height
_REDUCED = (
    (8.0, cv2.IMREAD_REDUCED_COLOR_8),
    (4.0, cv2.IMREAD_REDUCED_COLOR_4),
    (2.0, cv2.IMREAD_REDUCED_COLOR_2),
)
#: What a file holds that says how it is turned: EXIF of a JPEG or a PNG, XMP, a raw profile.
_ORIENTED = (b"Exif", b"eXIf", b"exif", b"EXIF", b"rientation")
_EXIF_ORIENTATION = 0x0112  # EXIF 2.3, table 4; 5 to 8 swap width and height
#: What Pillow raises for broken files, beside OSError.
_DAMAGE = (
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    struct.error,
    zlib.error,
)
_pillow = threading.Lock()


def is_cut_off(data: bytes) -> bool:
    """Whether an encoded JPEG or PNG lacks its end.

    Decoders fill the missing part with grey and say nothing, so it is checked here. Inside a JPEG
    scan every 0xFF byte is stuffed or a restart marker: the first end marker behind a start of
    scan is a real one (ITU T.81, B.1.1.2). Whatever stands behind the end does not matter.
    """
    if data.startswith(_JPEG_START):
        if data.endswith(_JPEG_END):
            return False
        scan = _jpeg_segment(data, _JPEG_SCAN)
        return scan < 0 or data.find(_JPEG_END, scan) < 0
    if data.startswith(_PNG_START):
        return _PNG_END not in data
    return False


def _jpeg_segment(data: bytes, markers: Container[int]) -> int:
    """Where a JPEG's first segment with one of the markers begins, -1 where there is none.

    Segments are passed over by their length: thumbnails lie inside them (ITU T.81, B.1.1.4).
    """
    place = len(_JPEG_START)
    while 0 <= (place := data.find(b"\xff", place)) <= len(data) - 4:
        marker = data[place + 1]
        if marker in markers:
            return place
        if marker == 0xFF:
            place += 1
        elif marker in _JPEG_ALONE:
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return -1


class StoredImage:
    """An image file that was read and looked at, and may be decoded.

    size_hw: height and width, turned as its EXIF orientation says. Raises DataError, naming the
    file, where it is absent, no regular file, cut off, no image, or where its header states more
    pixels than `MAX_IMAGE_PIXELS`.
    """

    def __init__(self, path: Path):
        self._path = path
        self._data = read_bytes(path)
        if is_cut_off(self._data):
            raise DataError(f"image {path}: the file is cut off after {len(self._data)} bytes")
        size = _stated_size(self._data)
        if size is None or min(size) < 1:
            raise self._unreadable()
        _require_few_pixels(size, path)
        self._stated_wh = size

    @cached_property
    def size_hw(self) -> tuple[int, int]:
        """By the header, where nothing in the file may say that it is turned. Raises DataError.

        OpenCV decides whether it is: a JPEG is decoded at an eighth of its size to see it, any
        other file whole.
        """
        width, height = self._stated_wh
        is_jpeg = self._data.startswith(_JPEG_START)
        if (is_jpeg or self._data.startswith(_PNG_START)) and not self._may_be_turned():
            return height, width
        if not is_jpeg:
            return self._whole.shape[0], self._whole.shape[1]
        small = self._decode(cv2.IMREAD_REDUCED_COLOR_8)
        turned = (small.shape[0] > small.shape[1]) != (height > width) and height != width
        return (width, height) if turned else (height, width)

    def _may_be_turned(self) -> bool:
        """By what stands before a JPEG's pixels, or anywhere in a PNG."""
        is_jpeg = self._data.startswith(_JPEG_START)
        looked_at = self._data[: _jpeg_segment(self._data, _JPEG_SCAN)] if is_jpeg else self._data
        return any(mark in looked_at for mark in _ORIENTED)

    @cached_property
    def _whole(self) -> UInt8:
        return self._decode(cv2.IMREAD_COLOR)

    def pixels(self, factor: float = 1.0) -> UInt8:
        """[H, W, 3] uint8 BGR, with its EXIF orientation applied. Raises DataError.

        factor: how much smaller it may be at the most; JPEGs are decoded at a half, a quarter or an
        eighth of their size, which is several times as fast.
        """
        if not self._data.startswith(_JPEG_START):
            return self._whole
        return self._decode(
            next((flag for least, flag in _REDUCED if factor >= least), cv2.IMREAD_COLOR)
        )

    def _decode(self, flags: int) -> UInt8:
        try:
            image = cv2.imdecode(np.frombuffer(self._data, np.uint8), flags)
        except cv2.error as error:
            reason = str(error).strip().splitlines()[0]
            raise DataError(f"image {self._path}: not a readable image: {reason}") from error
        if image is None:
            raise self._unreadable()
        pixels: UInt8 = image
        return pixels

    def _unreadable(self) -> DataError:
        return DataError(f"image {self._path}: not a readable image ({len(self._data)} bytes)")


def read_image(path: Path) -> UInt8:
    """Read an image file as [H, W, 3] uint8 BGR, with its EXIF orientation applied.

    Raises DataError like `StoredImage`.
    """
    return StoredImage(path).pixels()


def write_image(path: Path, image: UInt8) -> None:
    """Write [H, W, 3] uint8 BGR in the format that the path's ending names, whole or not at all.

    Raises UsageError for an ending that OpenCV has no format for, YoloxError where the file cannot
    be written.
    """
    try:
        made, data = cv2.imencode(path.suffix, image)
    except cv2.error as error:
        raise UsageError(f"picture {path}: its ending names no format (.jpg, .png)") from error
    if not made:
        raise YoloxError(f"picture {path} cannot be encoded")
    with whole_file(path) as work:
        work.write_bytes(data.tobytes())


def read_bytes(path: Path) -> bytes:
    """The content of an image file. Raises DataError where it cannot be read, or is far too big."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit("MAX_IMAGE_PIXELS") * MOST_BYTES_PER_PIXEL:
                raise DataError(f"image {path}: {size:,} bytes are too many for an image")
            return file.read()
    except OSError as error:
        raise DataError(f"image {path}: cannot be read: {error.strerror or error}") from error


def header_size(path: Path) -> tuple[int, int]:
    """Width and height by the image's header, turned as its EXIF orientation says.

    Raises DataError like `read_image`, but does not read the pixels.
    """
    try:
        with open_regular(path) as file, _opened(file) as image:
            width, height = image.size
            orientation = _orientation(image)
    except (UnidentifiedImageError, *_DAMAGE) as error:
        raise DataError(f"image {path}: not a readable image") from error
    except OSError as error:
        raise DataError(f"image {path}: cannot be read: {error.strerror or error}") from error
    _require_few_pixels((width, height), path)
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def _require_few_pixels(size_wh: tuple[int, int], path: Path) -> None:
    width, height = size_wh
    why = over_limit("MAX_IMAGE_PIXELS", width * height)
    if why:
        raise DataError(f"image {path}: {width} x {height} pixels: {why}")


def _stated_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that the header of an encoded image states, None where there is none.

    JPEG and PNG are looked at here, which takes 2 microseconds; Pillow knows the others.
    """
    if data.startswith(_JPEG_START):
        return _jpeg_size(data)
    if data.startswith(_PNG_START):
        return struct.unpack_from(">II", data, _PNG_SIZE) if len(data) >= _PNG_SIZE + 8 else None
    try:
        with _opened(BytesIO(data)) as image:
            return image.size
    except (OSError, *_DAMAGE):
        return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height by a JPEG's frame header (ITU T.81, B.2.2)."""
    frame = _jpeg_segment(data, _JPEG_FRAMES)
    if not 0 <= frame <= len(data) - 9:
        return None
    height, width = struct.unpack_from(">HH", data, frame + 5)
    return width, height


@contextmanager
def _opened(file: BinaryIO) -> Iterator[Image.Image]:
    """An image whose header Pillow has read; its warnings and its own limit are put aside.

    Both are settings of the process, so threads take turns.
    """
    with _pillow, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of slightly broken EXIF blocks
        own, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            with Image.open(file) as image:
                yield image
        finally:
            Image.MAX_IMAGE_PIXELS = own


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) where there is none or the block is broken."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except (OSError, *_DAMAGE):
        return 1
