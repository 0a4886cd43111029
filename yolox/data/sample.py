"""The one record that flows through the data layer, and how an image file is read."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from yolox.errors import DataError

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

_JPEG_START = b"\xff\xd8"
_JPEG_SCAN = b"\xff\xda"
_JPEG_END = b"\xff\xd9"
_PNG_START = b"\x89PNG"
_PNG_END = b"IEND"


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
    scan every 0xFF byte is stuffed or a restart marker: an end marker behind the last start of
    scan can only be the real one (ITU T.81, B.1.1.2).
    """
    if data.startswith(_JPEG_START):
        return not data.endswith(_JPEG_END) and data.rfind(_JPEG_END) <= data.rfind(_JPEG_SCAN)
    if data.startswith(_PNG_START):
        return _PNG_END not in data[-64:]
    return False


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
