"""COCO annotations as columns: fast to read, and a fraction of the memory of Python objects.

Only files whose values have the types that COCO gives them are read so. Segmentations, which are
most of such a file, are skipped without building anything of them.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any, TypedDict

import msgspec
import numpy as np

from yolox.data.sample import Float64, Int64

BOM = b"\xef\xbb\xbf"
LARGEST = 2**63  # of the numbers of a column
ABSENT = -(2**62)  # stands for a flag that is not stated


class _Annotation(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    id: int
    area: float = np.nan
    iscrowd: int = ABSENT
    difficult: int = ABSENT


class _Image(TypedDict, total=False):
    id: int | str
    file_name: str
    width: int
    height: int


class _Category(TypedDict, total=False):
    id: int
    name: str


class _File(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]
    licenses: list[_Category] = []


@dataclass(frozen=True)
class Columns:
    """The annotations of a file, a row for each, as they are stated.

    image_ids, category_ids, ids, crowd, difficult [N] int64. boxes_xywh [N, 4], areas [N] float64,
    NaN where none is stated.
    """

    image_ids: Int64
    category_ids: Int64
    ids: Int64
    boxes_xywh: Float64
    areas: Float64
    crowd: Int64
    difficult: Int64

    def __len__(self) -> int:
        return len(self.ids)

    def entry(self, row: int) -> dict[str, Any]:
        """One annotation as COCO's JSON states it."""
        found = {
            "id": int(self.ids[row]),
            "image_id": int(self.image_ids[row]),
            "category_id": int(self.category_ids[row]),
            "bbox": self.boxes_xywh[row].tolist(),
            "iscrowd": int(self.crowd[row]),
            "difficult": int(self.difficult[row]),
        }
        area = float(self.areas[row])
        return found if np.isnan(area) else {**found, "area": area}

    def places(self, numbers: Mapping[Any, int], column: str) -> Int64:
        """The numbers that stand for the ids of a column [N], -1 where an id has none."""
        known = [
            (key, number)
            for key, number in numbers.items()
            if type(key) is int and -LARGEST <= key < LARGEST
        ]
        keys = np.array([key for key, _ in known], np.int64)
        found = np.array([number for _, number in known], np.int64)
        order = np.argsort(keys, kind="stable")
        keys, found = keys[order], found[order]
        wanted: Int64 = getattr(self, column)
        if not len(keys):
            return np.full(len(wanted), -1, np.int64)
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        result: Int64 = np.where(keys[place] == wanted, found[place], -1)
        return result


def read_columns(content: bytes) -> dict[str, Any] | None:
    """What a COCO file says, its annotations as `Columns`; None to read it value by value.

    That is where a value has another type than COCO's, or a key that is read may stand twice in an
    object (one that is written with escapes is not seen).
    """
    content = content.removeprefix(BOM)
    try:
        if not content.isascii():
            content.decode()  # what is skipped must be text, too
        found = msgspec.json.decode(content, type=_File)
        if _may_repeat_keys(content, found):
            return None
        return {
            "images": found.images,
            "categories": found.categories,
            "annotations": _columns(found.annotations),
        }
    except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError, RecursionError):
        return None


def _may_repeat_keys(content: bytes, found: _File) -> bool:
    """Whether the text has a key more often than the objects that were read from it."""
    boxes = len(found.annotations)
    expected = Counter(images=1, annotations=1, categories=1)
    expected.update(dict.fromkeys(("id", "image_id", "category_id", "bbox"), boxes))
    expected["area"] = sum(not math.isnan(entry.area) for entry in found.annotations)
    for key in ("iscrowd", "difficult"):
        expected[key] = sum(getattr(entry, key) != ABSENT for entry in found.annotations)
    for part in (*found.images, *found.categories, *found.licenses):
        expected.update(part.keys())
    return any(content.count(f'"{key}"'.encode()) != count for key, count in expected.items())


def _columns(entries: Sequence[_Annotation]) -> Columns:
    def column(name: str, kind: Any) -> Any:
        return np.fromiter(map(attrgetter(name), entries), kind, len(entries))

    numbers = chain.from_iterable(map(attrgetter("bbox"), entries))
    boxes = np.fromiter(numbers, np.float64, 4 * len(entries)).reshape(-1, 4)
    return Columns(
        image_ids=column("image_id", np.int64),
        category_ids=column("category_id", np.int64),
        ids=column("id", np.int64),
        boxes_xywh=boxes,
        areas=column("area", np.float64),
        crowd=_stated(column("iscrowd", np.int64)),
        difficult=_stated(column("difficult", np.int64)),
    )


def _stated(flags: Int64) -> Int64:
    """Flags, 0 where none was stated."""
    return np.where(flags == ABSENT, 0, flags)
