"""Image files: what is opened, how much memory they may ask for, and how they are refused."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.fuzz.images import claiming, encoded, with_orientation
from yolox.data.image import header_size, read_image
from yolox.errors import DataError

READERS = (read_image, header_size)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("size", [(30_000, 30_000), (65_000, 65_000)])
def test_more_pixels_than_allowed_are_refused_by_the_header(
    tmp_path: Path, read, size: tuple[int, int], monkeypatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("the pixels were decoded"))
    path = tmp_path / "bomb.jpg"
    path.write_bytes(claiming(encoded(".jpg"), *size))
    with pytest.raises(DataError, match=rf"bomb\.jpg: {size[0]} x .*YOLOX_MAX_IMAGE_PIXELS"):
        read(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff"])
def test_the_limit_counts_for_every_format(tmp_path: Path, suffix: str, monkeypatch) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(suffix))
    monkeypatch.setenv("YOLOX_MAX_IMAGE_PIXELS", str(64 * 48))
    assert read_image(path).shape == (48, 64, 3)
    assert header_size(path) == (64, 48)
    monkeypatch.setenv("YOLOX_MAX_IMAGE_PIXELS", str(64 * 48 - 1))
    for read in READERS:
        with pytest.raises(DataError, match=r"64 x 48 pixels: 3,072 is more than 3,071"):
            read(path)


@pytest.mark.parametrize("read", READERS)
def test_pipes_folders_and_devices_are_no_images(tmp_path: Path, read) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    for name in ("pipe", "folder", "device"):
        with pytest.raises(DataError, match=rf"{name}\.jpg: cannot be read: it is no regular file"):
            read(tmp_path / f"{name}.jpg")


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "\ud800"])
def test_names_that_no_file_can_have(tmp_path: Path, read, name: str) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / name)


def test_what_opencv_refuses_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("YOLOX_MAX_IMAGE_PIXELS", "1e10")  # beyond OpenCV's own limit
    path = tmp_path / "huge.jpg"
    path.write_bytes(claiming(encoded(".jpg"), 65_000, 65_000))
    with pytest.raises(DataError, match=r"huge\.jpg: not a readable image: .*CV_IO_MAX"):
        read_image(path)


def test_a_file_far_too_large_is_not_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("YOLOX_MAX_IMAGE_PIXELS", "1000")
    path = tmp_path / "sparse.jpg"
    with path.open("wb") as file:
        file.truncate(8001)
    with pytest.raises(DataError, match="8,001 bytes are too many"):
        read_image(path)


@pytest.mark.parametrize(("orientation", "shape"), [(1, (48, 64)), (3, (48, 64)), (6, (64, 48))])
def test_header_and_pixels_agree_about_orientation(tmp_path, orientation, shape) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(with_orientation(encoded(".jpg"), orientation))
    assert read_image(path).shape[:2] == shape
    assert header_size(path) == shape[::-1]


def test_a_thumbnail_does_not_hide_the_size(tmp_path: Path) -> None:
    """The frame header of a thumbnail lies in an application segment, before the image's own."""
    small = claiming(encoded(".jpg"), 2, 2)
    block = b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(".jpg")[:2] + block + claiming(encoded(".jpg"), 30_000, 30_000)[2:])
    with pytest.raises(DataError, match="30000 x 30000"):
        read_image(path)
    assert np.prod(read_image(_written(tmp_path / "b.jpg", block)).shape) == 64 * 48 * 3


def test_a_thumbnail_does_not_stand_for_the_pixels(tmp_path: Path) -> None:
    """A whole thumbnail lies in a segment behind the tables: the image's own end counts."""
    whole = encoded(".jpg")
    tables = b"\xff\xdb\x00\x43\x00" + bytes(range(1, 65))
    block = tables + b"\xff\xe1" + (len(whole) + 2).to_bytes(2, "big") + whole
    path = tmp_path / "a.jpg"
    path.write_bytes(whole[:2] + block + whole[2:-40])
    with pytest.raises(DataError, match="cut off"):
        read_image(path)
    assert read_image(_written(tmp_path / "b.jpg", block)).shape == (48, 64, 3)


def _written(path: Path, block: bytes) -> Path:
    path.write_bytes(encoded(".jpg")[:2] + block + encoded(".jpg")[2:])
    return path
