"""COCO JSON data sets, validated once when they are read.

What an annotation file may get wrong is counted by kind with the annotation's id (`problems`).
Boxes that cannot be trained on are left out; an unknown class or image id is an error, because
it silently removes a whole class otherwise.
"""

import copy
import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yolox.data.sample import Float32, Int64, Sample, UInt8, read_image
from yolox.errors import DataError

PROBED_IMAGES = 20  # of the images, to find the folder that holds them
#: Kinds of problem that stop training; every other kind only leaves a box out or clips it.
FATAL = ("unknown_category", "unknown_image")


@dataclass(frozen=True)
class ImageRecord:
    """One entry of `images`: its COCO id, file and the size that the JSON states (pixels)."""

    id: int
    path: Path
    width: int
    height: int


@dataclass(frozen=True)
class Problem:
    """Something wrong with one annotation: what kind, which annotation, and the value."""

    kind: str
    annotation_id: object
    file_name: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: annotation {self.annotation_id} of {self.file_name}: {self.detail}"


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises DataError naming the file and the place where it breaks."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"annotation file {path}: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"annotation file {path}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"annotation file {path}: expected a JSON object at the top")
    return content


class CocoDataset:
    """Images and boxes of one COCO annotation file.

    Targets are kept as two flat arrays, so that worker processes share them instead of copying
    Python objects. Crowd boxes are left out of the targets (they stay in the file, where the
    evaluator reads them). Class indices are positions among the sorted category ids.

    Raises DataError where the folder, the file, an image or a class id is missing.
    """

    def __init__(self, data_dir: str | Path, json_file: str, name: str, strict: bool = True):
        self.data_dir = Path(data_dir)
        if not self.data_dir.is_dir():
            raise DataError(f"data folder {self.data_dir} does not exist (set data_dir)")
        self.json_path = self.data_dir / "annotations" / json_file
        if not self.json_path.is_file() and (self.data_dir / json_file).is_file():
            self.json_path = self.data_dir / json_file
        content = load_json(self.json_path)
        self.problems: list[Problem] = []
        self.category_ids, self.class_names = _categories(content, self.json_path)
        self.images = _images(content, self.json_path, self.data_dir, name, strict)
        self._read_annotations(content)
        if strict:
            self._stop_on_fatal_problems()

    def __len__(self) -> int:
        return len(self.images)

    def read_image(self, index: int) -> UInt8:
        """The image as stored: [H, W, 3] uint8 BGR."""
        return read_image(self.images[index].path)

    def targets(self, index: int) -> tuple[Float32, Int64]:
        """Boxes [N, 4] (xyxy, pixels of the JSON's size) and class indices [N]."""
        where = slice(self._starts[index], self._starts[index + 1])
        return self._boxes_xyxy[where].copy(), self._labels[where].copy()

    def sample(self, index: int) -> Sample:
        """The image and its targets, in the image's own pixels.

        Where the file's size is not the size that the JSON states, boxes are scaled to the file.
        """
        image = self.read_image(index)
        boxes_xyxy, labels = self.targets(index)
        record = self.images[index]
        height, width = image.shape[:2]
        if (width, height) != (record.width, record.height):
            boxes_xyxy *= np.array([width / record.width, height / record.height] * 2, np.float32)
        return Sample(image, boxes_xyxy, labels)

    def subset(self, indices: Sequence[int]) -> "CocoDataset":
        """The data set of some of the images, in the order given."""
        part = copy.copy(self)
        part.images = [self.images[index] for index in indices]
        names = {record.path.name for record in part.images}
        part.problems = [problem for problem in self.problems if problem.file_name in names]
        rows = [np.arange(self._starts[index], self._starts[index + 1]) for index in indices]
        part._starts = np.cumsum([0, *map(len, rows)]).astype(np.int64)
        order = np.concatenate([np.zeros(0, np.int64), *rows])
        part._boxes_xyxy, part._labels = self._boxes_xyxy[order], self._labels[order]
        return part

    def problem_counts(self) -> Counter[str]:
        """Number of problems of each kind."""
        return Counter(problem.kind for problem in self.problems)

    def _read_annotations(self, content: dict[str, Any]) -> None:
        index_of: dict[Any, int] = {record.id: index for index, record in enumerate(self.images)}
        label_of: dict[Any, int] = {
            category: label for label, category in enumerate(self.category_ids)
        }
        rows: list[tuple[int, int, list[float]]] = []
        for annotation in checked_annotations(content, self.json_path):
            index = index_of.get(annotation.get("image_id"))
            label = label_of.get(annotation.get("category_id"))
            if index is None:
                image = annotation.get("image_id")
                self._problem(
                    "unknown_image", annotation, self.json_path.name, f"image_id {image!r}"
                )
                continue
            file_name = self.images[index].path.name
            if label is None:
                category = annotation.get("category_id")
                self._problem(
                    "unknown_category", annotation, file_name, f"category_id {category!r}"
                )
                continue
            if annotation.get("iscrowd"):
                continue
            box = self._checked_box(annotation, self.images[index])
            if box is not None:
                rows.append((index, label, box))
        rows.sort(key=lambda row: row[0])
        counts = np.bincount([row[0] for row in rows], minlength=len(self.images))
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._labels = np.array([row[1] for row in rows], np.int64)
        self._boxes_xyxy = np.array([row[2] for row in rows], np.float32).reshape(-1, 4)

    def _checked_box(self, annotation: dict[str, Any], record: ImageRecord) -> list[float] | None:
        """The box as xyxy inside the image, or None where nothing is left of it."""
        box, file_name = annotation.get("bbox"), record.path.name
        numbers = finite_box(box)
        if numbers is None:
            self._problem("bad_box", annotation, file_name, f"bbox {box!r}")
            return None
        x, y, width, height = numbers
        if width <= 0 or height <= 0:
            self._problem("zero_size", annotation, file_name, f"bbox {box!r}")
            return None
        x1, y1 = max(x, 0.0), max(y, 0.0)
        x2, y2 = min(x + width, float(record.width)), min(y + height, float(record.height))
        if np.float32(x2) <= np.float32(x1) or np.float32(y2) <= np.float32(y1):
            self._problem("outside_image", annotation, file_name, f"bbox {box!r}")
            return None
        if max(x1 - x, y1 - y, x + width - x2, y + height - y2) > 1.0:
            self._problem("partly_outside", annotation, file_name, f"bbox {box!r}")
        return [x1, y1, x2, y2]

    def _problem(self, kind: str, annotation: dict[str, Any], file_name: str, detail: str) -> None:
        self.problems.append(Problem(kind, annotation.get("id"), file_name, detail))

    def _stop_on_fatal_problems(self) -> None:
        fatal = [problem for problem in self.problems if problem.kind in FATAL]
        if fatal:
            more = f" (and {len(fatal) - 1} more)" if len(fatal) > 1 else ""
            raise DataError(f"{self.json_path}: {fatal[0]}{more}")


def finite_box(box: object) -> tuple[float, float, float, float] | None:
    """x, y, width and height of a `bbox` entry, or None where it is not four finite numbers."""
    if not isinstance(box, list | tuple) or len(box) != 4:
        return None
    try:
        x, y, width, height = (float(value) for value in box)
    except (TypeError, ValueError):
        return None
    return (x, y, width, height) if all(map(math.isfinite, (x, y, width, height))) else None


def checked_annotations(content: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """The list of annotations. Raises DataError where it is no list of objects with plain ids."""
    annotations = content.get("annotations", [])
    if not isinstance(annotations, list) or not all(isinstance(a, dict) for a in annotations):
        raise DataError(f"{path}: 'annotations' is not a list of objects")
    for annotation in annotations:
        for key in ("image_id", "category_id"):
            if isinstance(annotation.get(key), dict | list):
                raise DataError(
                    f"{path}: annotation {annotation.get('id')}: {key} is no plain value"
                )
    return annotations


def _categories(content: dict[str, Any], path: Path) -> tuple[list[int], tuple[str, ...]]:
    categories = content.get("categories")
    if not categories:
        raise DataError(f"{path}: 'categories' is missing or empty")
    try:
        named = sorted((int(category["id"]), str(category["name"])) for category in categories)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: every category needs 'id' and 'name': {error!r}") from error
    ids = [identifier for identifier, _ in named]
    if len(set(ids)) != len(ids):
        twice = next(identifier for identifier, count in Counter(ids).items() if count > 1)
        raise DataError(f"{path}: category id {twice} stands twice")
    return ids, tuple(name for _, name in named)


def _images(
    content: dict[str, Any], path: Path, data_dir: Path, name: str, strict: bool
) -> list[ImageRecord]:
    entries = content.get("images")
    if not entries:
        raise DataError(f"{path}: 'images' is missing or empty")
    try:
        rows = [(e["id"], str(e["file_name"]), int(e["width"]), int(e["height"])) for e in entries]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{path}: every image needs 'id', 'file_name', 'width' and 'height': {error!r}"
        ) from error
    root = _image_root(data_dir, name, [file_name for _, file_name, _, _ in rows])
    records = []
    for identifier, file_name, width, height in rows:
        if width <= 0 or height <= 0:
            raise DataError(f"{path}: image {file_name}: size {width} x {height}")
        records.append(ImageRecord(identifier, root / file_name, width, height))
    if len({record.id for record in records}) != len(records):
        twice = next(i for i, n in Counter(record.id for record in records).items() if n > 1)
        raise DataError(f"{path}: image id {twice} stands twice")
    missing = missing_files(records)
    if missing and strict:
        raise DataError(
            f"{path}: {len(missing)} of {len(records)} images missing, first: {missing[0]}"
        )
    return records


def _image_root(data_dir: Path, name: str, file_names: list[str]) -> Path:
    """The folder that holds the images: `name` as in COCO, or one of the usual others.

    The first of them that holds one of the first images; those that are missing are named later.
    """
    candidates = [data_dir / name, data_dir, data_dir / "images" / name, data_dir / "images"]
    probes = file_names[:PROBED_IMAGES]
    found = (root for root in candidates if any((root / probe).is_file() for probe in probes))
    return next(found, candidates[0])


def missing_files(records: list[ImageRecord]) -> list[Path]:
    """Paths that do not exist. Each folder is listed once, which is quick for large data sets."""
    listed: dict[Path, set[str]] = {}
    missing = []
    for record in records:
        folder = record.path.parent
        if folder not in listed:
            listed[folder] = _file_names(folder)
        if record.path.name not in listed[folder]:
            missing.append(record.path)
    return missing


def _file_names(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_file()}
