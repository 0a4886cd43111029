"""Image files with something wrong in them."""

import struct
from functools import cache
from io import BytesIO

import cv2
import numpy as np
from hypothesis import strategies as st
from PIL import Image

SUFFIXES = (".jpg", ".png", ".bmp", ".webp", ".tiff", ".gif", ".ppm", ".jp2")
SIZES = (0, 1, 2, 255, 4096, 30_000, 65_535, 2**24, 2**31 - 1, 2**32 - 1)


@cache
def encoded(suffix: str) -> bytes:
    """A small picture in a format."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    if suffix == ".gif":
        file = BytesIO()
        Image.fromarray(pixels).save(file, "GIF")
        return file.getvalue()
    made, data = cv2.imencode(suffix, pixels)
    assert made
    return data.tobytes()


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG with an EXIF block that states an orientation."""
    entry = struct.pack("<HHII", 0x0112, 3, 1, orientation)
    block = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + b"\0\0\0\0"
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


def claiming(jpeg: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame header states another size."""
    place = jpeg.index(b"\xff\xc0")
    return jpeg[: place + 5] + struct.pack(">HH", height, width) + jpeg[place + 9 :]


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Bytes that begin as an image: cut, with other bytes, sizes or parts."""
    data = encoded(draw(st.sampled_from(SUFFIXES)))
    kind = draw(st.sampled_from(["bytes", "bytes", "cut", "size", "joined", "exif", "noise"]))
    if kind == "cut":
        return data[: draw(st.integers(0, len(data)))]
    if kind == "joined":
        other = encoded(draw(st.sampled_from(SUFFIXES)))
        return data[: draw(st.integers(0, 64))] + other
    if kind == "exif":
        return with_orientation(encoded(".jpg"), draw(st.sampled_from([0, 3, 6, 8, 9, 65_535])))
    if kind == "noise":
        return data[:4] + draw(st.binary(max_size=200))
    changed = bytearray(data)
    if kind == "size":  # most formats state their size in the first bytes
        place, layout = draw(st.integers(2, 60)), draw(st.sampled_from([">I", "<I", ">H", "<H"]))
        value = draw(st.sampled_from(SIZES)) % 256 ** struct.calcsize(layout)
        struct.pack_into(layout, changed, place, value)
        return bytes(changed)
    for _ in range(draw(st.integers(1, 8))):
        most = draw(st.sampled_from([len(data), min(len(data), 64)]))
        changed[draw(st.integers(0, most - 1))] = draw(st.integers(0, 255))
    return bytes(changed)
