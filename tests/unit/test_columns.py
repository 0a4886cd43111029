"""COCO files read as columns say the same as files that are read value by value."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from tests.fuzz import coco
from tests.fuzz.settings import fuzz_settings
from yolox.data.columns import read_columns
from yolox.data.dataset import DetectionDataset
from yolox.errors import DataError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coco.write_images(tmp_path_factory.mktemp("columns") / "set")


def found(folder: Path, strict: bool = False) -> Any:
    """All that a data set has of its file, or the error."""
    try:
        data = DetectionDataset(folder, coco.JSON_FILE, coco.IMAGES, strict=strict)
    except DataError as error:
        return str(error)
    targets = [[part.tolist() for part in data.targets(index)] for index in range(len(data))]
    stated = list(data.annotations())
    problems = [
        replace(problem, detail=re.sub(r"\.0\b", "", problem.detail)) for problem in data.problems
    ]  # columns do not know whether 5 or 5.0 was stated
    return data.images, targets, stated, problems, data.crowd_boxes, data.overhang


def write(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "annotations" / coco.JSON_FILE
    path.write_text(json.dumps(content))
    return path


def value_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolox.data.sources.read_columns", lambda content: None)


@given(data=coco.files())
@fuzz_settings()
def test_any_file_is_read_alike(folder: Path, data: bytes) -> None:
    (folder / "annotations" / coco.JSON_FILE).write_bytes(data)
    fast = found(folder)
    with pytest.MonkeyPatch.context() as patch:
        value_by_value(patch)
        assert found(folder) == fast


def test_typed_values_that_cannot_be_are_the_same_problems(folder, monkeypatch):
    content = coco.sound()
    odd = [
        {"image_id": 99},
        {"category_id": 5},
        {"bbox": [0, 0, 1e9, 5]},
        {"bbox": [3, 3, 0, 5]},
        {"bbox": [500, 3, 4, 5]},
        {"bbox": [-20, 3, 40, 5.5]},
        {"area": -1},
        {"iscrowd": 2},
        {"iscrowd": 1, "difficult": 1},
    ]
    base = {"image_id": 1, "category_id": 3, "bbox": [1, 2, 30, 20], "segmentation": [[1, 2, 3]]}
    content["annotations"] += [{**base, "id": 10 + i, **one} for i, one in enumerate(odd)]
    content["annotations"].append({**base, "id": 30})
    assert read_columns(write(folder, content).read_bytes()) is not None
    fast = found(folder)
    kinds = [problem.kind for problem in fast[3]]
    assert kinds == [
        *("unknown_image", "unknown_category", "bad_box", "bad_area", "bad_iscrowd"),
        *("zero_size", "outside_image", "partly_outside"),
    ]
    value_by_value(monkeypatch)
    assert found(folder) == fast


@pytest.mark.parametrize(
    "change",
    [
        {"bbox": ["1", 2, 3, 4]},
        {"bbox": [True, 2, 3, 4]},
        {"bbox": [1, 2, 3]},
        {"bbox": None},
        {"iscrowd": False},
        {"image_id": "1"},
        {"id": None},
        {"area": None},
        {"category_id": 2**70},
    ],
)
def test_values_of_other_types_are_looked_at_one_by_one(folder, change):
    content = coco.sound()
    content["annotations"][2].update(change)
    assert read_columns(write(folder, content).read_bytes()) is None


@pytest.mark.parametrize(
    "key",
    ["bbox", "image_id", "category_id", "area", "iscrowd", "id", "width", "file_name", "name"],
)
def test_a_key_that_stands_twice_is_not_overlooked(folder, key):
    path = write(folder, coco.sound())
    text = path.read_text()
    path.write_text(text.replace(f'"{key}": ', f'"{key}": 1, "{key}": ', 1))
    with pytest.raises(DataError, match=f"key '{key}' stands twice"):
        DetectionDataset(folder, coco.JSON_FILE, coco.IMAGES)


def test_licences_do_not_make_a_file_irregular(folder):
    content = {**coco.sound(), "licenses": [{"url": "x", "id": 1, "name": "y"}], "info": {"a": 1}}
    assert read_columns(write(folder, content).read_bytes()) is not None


def test_an_image_of_a_huge_number_without_boxes_is_read(folder, monkeypatch):
    content = coco.sound()
    content["images"].append({**content["images"][0], "id": 2**64, "file_name": "2.jpg"})
    write(folder, content)
    fast = found(folder)
    value_by_value(monkeypatch)
    assert found(folder) == fast
    assert len(fast[0]) == 4


def test_text_that_is_none_is_refused(folder):
    path = write(folder, {**coco.sound(), "info": "@"})
    path.write_bytes(path.read_bytes().replace(b"@", b"\xff"))
    with pytest.raises(DataError, match="not valid JSON"):
        DetectionDataset(folder, coco.JSON_FILE, coco.IMAGES)


def test_a_name_that_ends_in_a_slash_is_the_file(folder):
    content = coco.sound()
    content["images"][0]["file_name"] += "/"
    write(folder, content)
    assert not DetectionDataset(folder, coco.JSON_FILE, coco.IMAGES).missing
