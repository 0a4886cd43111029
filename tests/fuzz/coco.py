"""COCO annotation files with something wrong in them, and the images that they speak of."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from hypothesis import strategies as st

from yolox.data.dataset import DetectionDataset
from yolox.data.problems import LEFT_OUT

WIDTH, HEIGHT = 64, 48
NAMES = ("1.jpg", "2.jpg", "3.jpg")
JSON_FILE, IMAGES = "fuzz.json", "val2017"
_DIGITS, _DEEP = "@digits@", "@deep@"  # stand for what `json.dumps` does not write
_RAW = {f'"{_DIGITS}"': "9" * 5000, f'"{_DEEP}"': "[" * 100_000 + "]" * 100_000}

VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    3,
    7,
    1.0,
    0.5,
    1e-320,
    1e308,
    float("inf"),
    float("-inf"),
    float("nan"),
    2**31,
    2**63 - 1,
    2**63,
    -(2**63) - 1,
    10**30,
    10**400,
    _DIGITS,
    _DEEP,
    "",
    "0",
    "1",
    "7",
    "nan",
    "x",
    "é",
    "\ud800",
    "\udc80",
    "a\0b",
    "a\nb",
    "\x1b[2J",
    "a" * 256,
    "a" * 5000,
    "../1.jpg",
    "/etc/passwd",
    "../../../../../../etc/passwd",
    "val2017/../1.jpg",
    ".",
    "..",
    "1.jpg",
    "pipe.jpg",
    "folder.jpg",
    "link.jpg",
    "loop.jpg",
    [],
    {},
    [1],
    {"a": 1},
    [[]],
    [{}],
    [[[[[[[[1]]]]]]]],
    [1, 2, 3],
    [1, 2, 3, 4],
    [-5, -5, 1e6, 1e6],
    [1, 2, float("nan"), 4],
    [1, 2, 10**400, 4],
    ["1", "2", "3", "4"],
    [True, 1, 2, 3],
    [1e5, 1e5, 1e5, 1e5],
    [0, 0, 1e-300, 1e-300],
    [60, 40, 50, 50],
]
FIELDS = {
    "images": ("id", "file_name", "width", "height"),
    "categories": ("id", "name"),
    "annotations": ("id", "image_id", "category_id", "bbox", "area", "iscrowd"),
}


def write_images(folder: Path) -> Path:
    """The data folder: three images, and names that stand for no regular file."""
    inside = folder / IMAGES
    inside.mkdir(parents=True)
    (folder / "annotations").mkdir()
    rng = np.random.default_rng(0)
    for name in NAMES:
        cv2.imwrite(str(inside / name), rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
    (inside / "folder.jpg").mkdir()
    (inside / "link.jpg").symlink_to("/etc/passwd")
    (inside / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(inside / "pipe.jpg")
    return folder


def sound() -> dict[str, Any]:
    """A file without a fault: three images, two classes, five boxes and a crowd."""
    images = [
        {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}
        for number, name in enumerate(NAMES, start=1)
    ]
    annotations = [
        {
            "id": number,
            "image_id": 1 + number % 3,
            "category_id": (3, 7)[number % 2],
            "bbox": [number, number, 20, 15],
            "area": 300.0,
            "iscrowd": int(number == 5),
        }
        for number in range(6)
    ]
    categories = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    return {"images": images, "annotations": annotations, "categories": categories}


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """A file with one to four of its values exchanged, removed or repeated."""
    content = sound()
    for _ in range(draw(st.integers(1, 4))):
        _damage(draw, content)
    return content


def _damage(draw: st.DrawFn, content: dict[str, Any]) -> None:
    key = draw(st.sampled_from(["annotations", "annotations", "annotations", *FIELDS]))
    value = copy.deepcopy(draw(st.sampled_from(VALUES)))
    kind = draw(st.sampled_from(["field"] * 8 + ["entry", "repeat", "list", "remove"]))
    entries = content.get(key)
    if kind == "list" or not isinstance(entries, list) or not entries:
        content[key] = value
        return
    place = draw(st.integers(0, len(entries) - 1))
    if kind == "entry":
        entries[place] = value
    elif kind == "repeat":
        entries.append(copy.deepcopy(entries[place]))
    elif isinstance(entries[place], dict):
        field = draw(st.sampled_from(FIELDS[key]))
        if kind == "remove":
            entries[place].pop(field, None)
        else:
            entries[place][field] = value


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """The bytes of such a file, now and then damaged as text."""
    text = json.dumps(draw(contents()))
    for mark, raw in _RAW.items():
        text = text.replace(mark, raw)
    data = text.encode()
    kind = draw(st.sampled_from(["whole"] * 12 + ["bom", "cut", "byte", "twice", "utf-16"]))
    if kind == "bom":
        return b"\xef\xbb\xbf" + data
    if kind == "cut":
        return data[: draw(st.integers(0, len(data)))]
    if kind == "byte":
        place = draw(st.integers(0, len(data) - 1))
        return data[:place] + bytes([draw(st.integers(0, 255))]) + data[place + 1 :]
    if kind == "twice":
        return data[:-1] + b', "annotations": []}'
    return text.encode("utf-16") if kind == "utf-16" else data


def unaccounted(dataset: DetectionDataset, data: bytes) -> int:
    """Annotations of a file that are neither trained on, nor crowds, nor listed as left out."""
    listed = len(json.loads(data.decode("utf-8-sig")).get("annotations", []))
    boxes = sum(len(dataset.targets(index)[0]) for index in range(len(dataset)))
    left_out = sum(count for kind, count in dataset.problem_counts().items() if kind in LEFT_OUT)
    return listed - boxes - dataset.crowd_boxes - left_out
