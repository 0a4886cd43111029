"""The entries of a COCO JSON, each checked once, for training and evaluation alike."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from yolox.data.columns import Columns
from yolox.data.problems import Problem
from yolox.data.sample import Bool, Float64, Int64
from yolox.errors import DataError
from yolox.files import json_object, open_regular
from yolox.values import shown

LARGEST_SIDE = 100_000  # pixels; COCO's evaluation leaves out areas beyond its square
LARGEST_ID = 2**63  # of a category; the evaluation counts in 64 bits

_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control codes, half characters

Box = tuple[float, float, float, float]
Identifier = int | str


class ImageEntry(NamedTuple):
    """One entry of `images`: id, file name, and the size that the JSON states (pixels)."""

    id: Identifier
    file_name: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image: its COCO id, its file and the size that the JSON states (pixels).

    The file is text: a hundred thousand `Path`s take seconds to make.
    """

    id: Identifier
    file: str
    width: int
    height: int

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.file)


class Annotation(NamedTuple):
    """One entry of `annotations` that belongs to an image and a class and has a box.

    image, label: numbers among the images and classes. box_xywh: pixels of the JSON's size, as
    written. area: as written, or the box's. difficult: Pascal VOC's flag, false where it is absent.
    """

    image: int
    label: int
    box_xywh: Box
    area: float
    crowd: bool
    id: object
    difficult: bool = False


class Rows(NamedTuple):
    """The usable annotations of a file as arrays, crowds included; see `Annotation`.

    image, label [N] int64, boxes_xywh [N, 4] float64, areas [N] float64, crowd, difficult [N] bool.
    """

    image: Int64
    label: Int64
    boxes_xywh: Float64
    areas: Float64
    crowd: Bool
    ids: Sequence[object]
    difficult: Bool


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises DataError naming the file and the place where it breaks."""
    return parse_json(json_bytes(path), path)


def json_bytes(path: Path) -> bytes:
    """The content of a file. Raises DataError where it cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise DataError(f"file {path}: {error.strerror}") from error


def parse_json(content: bytes, path: Path) -> dict[str, Any]:
    """The JSON object in a file's content. Raises DataError naming the file and the place."""
    try:
        return json_object(content.decode("utf-8-sig"))
    except ValueError as error:
        raise DataError(f"file {path}: not valid JSON: {error}") from error


class Entries:
    """What the annotations of a file refer to, and what is wrong with them.

    `problems` grows while they are gone through.
    """

    def __init__(self, path: Path, images: Sequence[ImageRecord], category_ids: Sequence[int]):
        self.path = path
        self.images = images
        self.problems: list[Problem] = []
        self._index_of: Mapping[Any, int] = {image.id: i for i, image in enumerate(images)}
        self._label_of: Mapping[Any, int] = {number: i for i, number in enumerate(category_ids)}

    def rows(self, content: Mapping[str, Any]) -> Rows:
        """Those that can be used, in order; the others become problems. Raises DataError."""
        entries = content.get("annotations", [])
        if isinstance(entries, Columns):
            return self._checked_columns(entries)
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise DataError(f"{self.path}: 'annotations' is not a list of objects")
        found = [one for entry in entries if (one := self._checked(entry)) is not None]
        return Rows(
            image=np.array([one.image for one in found], np.int64),
            label=np.array([one.label for one in found], np.int64),
            boxes_xywh=np.array([one.box_xywh for one in found], np.float64).reshape(-1, 4),
            areas=np.array([one.area for one in found], np.float64),
            crowd=np.array([one.crowd for one in found], np.bool_),
            ids=[one.id for one in found],
            difficult=np.array([one.difficult for one in found], np.bool_),
        )

    def annotations(self, content: Mapping[str, Any]) -> Iterator[Annotation]:
        """The same, one by one."""
        rows = self.rows(content)
        plain = (rows.image.tolist(), rows.label.tolist(), map(tuple, rows.boxes_xywh.tolist()))
        flags = (rows.areas.tolist(), rows.crowd.tolist(), rows.ids, rows.difficult.tolist())
        return map(Annotation, *plain, *flags)

    def problem(self, kind: str, identifier: object, file_name: str, detail: str) -> None:
        """Note what is wrong with the annotation that has this id."""
        plain = identifier if isinstance(identifier, int) else shown(identifier)
        self.problems.append(Problem(kind, plain, file_name, detail))

    def _name(self, image: int) -> str:
        return self.images[image].path.name

    def _checked_columns(self, stated: Columns) -> Rows:
        """The rows of columns; those that are not as they should be are looked at one by one."""
        image = stated.places(self._index_of, "image_ids")
        label = stated.places(self._label_of, "category_ids")
        sides, crowd = np.maximum(stated.boxes_xywh[:, 2:], 0.0), stated.crowd == 1
        areas = np.where(np.isnan(stated.areas), sides[:, 0] * sides[:, 1], stated.areas)
        sound = (image >= 0) & (label >= 0) & (stated.crowd >= 0) & (stated.crowd <= 1)
        sound &= (np.abs(stated.boxes_xywh) <= LARGEST_SIDE).all(axis=1)
        sound &= (areas >= 0) & (areas <= LARGEST_SIDE**2)
        kept = sound.copy()
        for row in np.flatnonzero(~sound).tolist():
            found = self._checked(stated.entry(row))
            if found is not None:
                kept[row], areas[row], crowd[row] = True, found.area, found.crowd
        return Rows(
            image=image[kept],
            label=label[kept],
            boxes_xywh=stated.boxes_xywh[kept],
            areas=areas[kept],
            crowd=crowd[kept],
            ids=stated.ids[kept].tolist(),
            difficult=stated.difficult[kept] == 1,
        )

    def _checked(self, entry: Mapping[str, Any]) -> Annotation | None:
        identifier, image_id = entry.get("id"), entry.get("image_id")
        category = entry.get("category_id")
        index = self._index_of.get(plain_id(image_id))
        if index is None:
            detail = f"image_id {shown(image_id)}"
            self.problem("unknown_image", identifier, self.path.name, detail)
            return None
        label = self._label_of.get(plain_id(category))
        if label is None:
            detail = f"category_id {shown(category)}"
            self.problem("unknown_category", identifier, self._name(index), detail)
            return None
        box = finite_box(entry.get("bbox"))
        if box is None:
            self.problem(
                "bad_box", identifier, self._name(index), f"bbox {shown(entry.get('bbox'))}"
            )
            return None
        crowd, area = _flag(entry.get("iscrowd")), _area(entry.get("area"), box)
        if crowd is None:
            detail = f"iscrowd {shown(entry['iscrowd'])} is taken as 0"
            self.problem("bad_iscrowd", identifier, self._name(index), detail)
        if area is None:
            detail = f"area {shown(entry['area'])}: that of the box is taken"
            self.problem("bad_area", identifier, self._name(index), detail)
            area = _area(None, box)
        difficult = bool(_flag(entry.get("difficult")))
        return Annotation(index, label, box, area or 0.0, bool(crowd), identifier, difficult)


def plain_id(value: object) -> Identifier | None:
    """An id as a whole number or text; None where it is neither (3.0 is 3, true is none)."""
    if type(value) is int or isinstance(value, str):  # bool is no id
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else None


def finite_box(box: object) -> Box | None:
    """x, y, width and height of a `bbox` entry, or None where it is not four sensible numbers."""
    if not isinstance(box, list | tuple) or len(box) != 4 or True in map(_is_flag, box):
        return None
    try:
        x, y, width, height = map(float, box)
    except (TypeError, ValueError, OverflowError):
        return None
    most = LARGEST_SIDE
    sensible = abs(x) <= most and abs(y) <= most and abs(width) <= most and abs(height) <= most
    return (x, y, width, height) if sensible else None  # NaN is not sensible


def _is_flag(value: object) -> bool:
    return value is True or value is False


def _flag(value: object) -> bool | None:
    """0, 1, false, true, or nothing at all, as a flag; None for every other value."""
    if value is None or value is False or value is True:
        return bool(value)
    return bool(value) if isinstance(value, int | float) and value in (0, 1) else None


def _area(value: object, box: Box) -> float | None:
    """The area that is stated, or the box's where none is; None where it is no area."""
    if value is None:
        return max(box[2], 0.0) * max(box[3], 0.0)
    if not isinstance(value, int | float) or _is_flag(value):
        return None
    return float(value) if 0 <= value <= LARGEST_SIDE**2 else None


def categories(content: Mapping[str, Any], path: Path) -> tuple[list[int], tuple[str, ...]]:
    """Category ids, sorted, and the class names in their order. Raises DataError."""
    named = []
    for entry in _objects(content, "categories", path):
        if "id" not in entry or "name" not in entry:
            raise DataError(f"{path}: every category needs 'id' and 'name': {shown(entry)}")
        number, name = plain_id(entry["id"]), entry["name"]
        if not isinstance(number, int) or not -LARGEST_ID <= number < LARGEST_ID:
            raise DataError(f"{path}: category id {shown(entry['id'])} is no whole number")
        if isinstance(name, int | float) and not isinstance(name, bool):
            name = str(name)
        named.append((number, _text(name, f"{path}: category {number}: name")))
    named.sort()
    ids = [identifier for identifier, _ in named]
    _require_unique(ids, f"{path}: category id")
    return ids, tuple(name for _, name in named)


def image_entries(content: Mapping[str, Any], path: Path) -> list[ImageEntry]:
    """The entries of `images`. Raises DataError where one is not what it should be."""
    found = []
    for entry in _objects(content, "images", path):
        missing = [key for key in ("id", "file_name", "width", "height") if key not in entry]
        if missing:
            raise DataError(
                f"{path}: every image needs 'id', 'file_name', 'width' and 'height': "
                f"{shown(entry)} has no {missing[0]!r}"
            )
        identifier = plain_id(entry["id"])
        if identifier is None:
            raise DataError(f"{path}: image id {shown(entry['id'])} is no number or text")
        name = _text(entry["file_name"], f"{path}: image {shown(identifier)}: file_name")
        width, height = _pixels(entry["width"]), _pixels(entry["height"])
        if width is None or height is None:
            stated = f"{shown(entry['width'])} x {shown(entry['height'])}"
            raise DataError(f"{path}: image {name}: size {stated}")
        found.append(ImageEntry(identifier, name, width, height))
    _require_unique([entry.id for entry in found], f"{path}: image id")
    return found


def _objects(content: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    entries = content.get(key)
    if not entries:
        raise DataError(f"{path}: {key!r} is missing or empty")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path}: {key!r} is not a list of objects")
    return entries


def is_writable(text: str) -> bool:
    """Whether a name can be printed on a line and written to a file."""
    return bool(text) and not _UNWRITABLE.search(text)


def _text(value: object, where: str) -> str:
    """A writable name. Raises DataError."""
    if not isinstance(value, str) or not is_writable(value):
        raise DataError(f"{where} {shown(value)} is no text, or cannot be written")
    return value


def _pixels(value: object) -> int | None:
    """A side of an image, or None where it is no whole number of pixels that an image can have."""
    try:
        side = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    whole = not isinstance(value, bool) and side.is_integer() and 1 <= side <= LARGEST_SIDE
    return int(side) if whole else None


def _require_unique(ids: Sequence[Identifier], what: str) -> None:
    if len(set(ids)) != len(ids):
        twice = next(identifier for identifier, count in Counter(ids).items() if count > 1)
        raise DataError(f"{what} {shown(twice)} stands twice")
