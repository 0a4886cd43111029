"""Which files the names in an annotation file may reach."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolox.data.dataset import DetectionDataset
from yolox.data.doctor import examine
from yolox.errors import DataError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A data folder `set` with `val2017/in.jpg`, and `secret/out.jpg` beside it."""
    for folder in ("set/val2017", "set/annotations", "secret"):
        (tmp_path / folder).mkdir(parents=True)
    for path in ("set/val2017/in.jpg", "set/other.jpg", "secret/out.jpg"):
        cv2.imwrite(str(tmp_path / path), np.zeros((8, 8, 3), np.uint8))
    return tmp_path


def read(place: Path, *names: str, **options: bool) -> DetectionDataset:
    images = [{"id": i, "file_name": n, "width": 8, "height": 8} for i, n in enumerate(names)]
    content = {"images": images, "categories": [{"id": 1, "name": "a"}]}
    (place / "set/annotations/val.json").write_text(json.dumps(content))
    return DetectionDataset(place / "set", "val.json", "val2017", **options)


def test_names_that_walk_out_are_refused(place: Path) -> None:
    (place / "set/val2017/link.jpg").symlink_to(place / "secret/out.jpg")
    (place / "set/val2017/folder").symlink_to(place / "secret")
    for name in (
        str(place / "secret/out.jpg"),
        "../../secret/out.jpg",
        "link.jpg",
        "folder/out.jpg",
        "../../secret/absent.jpg",
    ):
        with pytest.raises(DataError, match=r"val\.json: 1 of 2 images lie outside .*allow_outs"):
            read(place, "in.jpg", name)
        with pytest.raises(DataError, match="lie outside"):
            examine(place / "set", "val.json", "val2017")
    for name in (str(place / "secret/out.jpg"), "../../secret/out.jpg", "link.jpg"):
        assert read(place, "in.jpg", name, allow_outside=True).read_image(1).shape == (8, 8, 3)


def test_names_that_stay_inside_are_read(place: Path) -> None:
    (place / "set/val2017/link.jpg").symlink_to("in.jpg")
    names = ("in.jpg", "../other.jpg", str(place / "set/other.jpg"), "link.jpg")
    dataset = read(place, *names)
    assert all(dataset.read_image(index).shape == (8, 8, 3) for index in range(len(names)))


def test_folders_that_the_user_names_may_be_links(place: Path) -> None:
    (place / "set/val2017").rename(place / "elsewhere")
    (place / "set/val2017").symlink_to(place / "elsewhere")
    read(place, "in.jpg")
    (place / "set").rename(place / "real")
    (place / "set").symlink_to(place / "real")
    read(place, "in.jpg")


@pytest.mark.parametrize("name", ["pipe.jpg", "folder.jpg", "loop.jpg", "a" * 300])
def test_what_is_no_regular_file_counts_as_missing(place: Path, name: str) -> None:
    inside = place / "set/val2017"
    os.mkfifo(inside / "pipe.jpg")
    (inside / "folder.jpg").mkdir()
    (inside / "loop.jpg").symlink_to("loop.jpg")
    with pytest.raises(DataError, match="1 of 2 images missing"):
        read(place, "in.jpg", name)
    report = examine(place / "set", "val.json", "val2017")
    assert report.problem_counts["missing_image"] == 1
