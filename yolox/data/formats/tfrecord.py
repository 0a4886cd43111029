"""TFRecord files of the TF object-detection API: an `Example` per image."""

import hashlib
import json
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from yolox.data.formats.files import read_text
from yolox.data.formats.pictures import Pictures
from yolox.data.formats.record import AnnotatedImage, AnnotatedSet, Collector, NamedObject
from yolox.data.formats.tf_records import (
    Features,
    make_example,
    parse_example,
    records,
    write_records,
)
from yolox.data.image import header_size
from yolox.errors import DataError
from yolox.files import write_text

BOX = "image/object/bbox/"
LABEL_MAP = "label_map.pbtxt"
_ITEM = re.compile(r"item\s*\{((?:[^}\"']|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')*)\}")
_ID = re.compile(r"\bid\s*:\s*(\d+)")
_NAME = re.compile(r"\bname\s*:\s*([\"'])((?:\\.|(?!\1).)*)\1")


def read(source: Path, pictures: Pictures | None, classes: Sequence[str] | None) -> AnnotatedSet:
    """A TFRecord file; images are taken from a folder, by their `image/filename`.

    Classes are those of `label_map.pbtxt` beside it, else those that occur. Raises DataError naming
    the record.
    """
    images = pictures or Pictures(source.parent)
    known = source.parent / LABEL_MAP
    label_map = _label_map(known) if known.is_file() else {}
    if classes is None and label_map:
        classes = list(label_map.values())
    collector = Collector(source, classes)
    for number, data in enumerate(records(source), 1):
        where = f"{source}: record {number}"
        try:
            features = parse_example(data)
        except (ValueError, IndexError, struct.error) as error:
            raise DataError(f"{where}: not a TF Example: {error}") from error
        path = images.find(_one_text(features, "image/filename", where), where)
        size_wh = header_size(path)
        objects = _objects(features, size_wh, label_map, where)
        collector.add(path, size_wh, objects, where)
    return collector.result()


def _objects(
    features: Features, size_wh: tuple[int, int], label_map: Mapping[int, str], where: str
) -> list[NamedObject]:
    sides = [features.get(BOX + key, []) for key in ("xmin", "ymin", "xmax", "ymax")]
    texts = features.get("image/object/class/text", [])
    labels = features.get("image/object/class/label", [])
    counts = {len(side) for side in sides} | {len(texts or labels)}
    if len(counts) > 1:
        raise DataError(f"{where}: {sorted(counts)} box sides and classes: not all as many")
    width, height = size_wh
    flags = [features.get(f"image/object/{key}", []) for key in ("difficult", "is_crowd")]
    found = []
    for number, box in enumerate(zip(*sides, strict=True)):
        place = f"{where}: object {number + 1}"
        if not all(isinstance(v, float) and -1e-3 <= v <= 1.001 for v in box):
            raise DataError(f"{place}: box {box} is not between 0 and 1")
        x1, y1, x2, y2 = box
        name = _text(texts[number], place) if texts else label_map.get(labels[number])
        if name is None:
            raise DataError(f"{place}: label {labels[number]} has no name ({LABEL_MAP})")
        corners = (x1 * width, y1 * height, x2 * width, y2 * height)
        difficult, crowd = (bool(flag[number]) if number < len(flag) else False for flag in flags)
        found.append(NamedObject(name, corners, place, difficult, crowd))
    return found


def _one_text(features: Features, key: str, where: str) -> str:
    values = features.get(key, [])
    if len(values) != 1:
        raise DataError(f"{where}: {key} has {len(values)} values, not one")
    return _text(values[0], f"{where}: {key}")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, bytes):
        raise DataError(f"{where}: {value!r} is no text")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8") from error


def _label_map(path: Path) -> dict[int, str]:
    """Names by label, in their order, of `item { id: 1 name: 'cat' }`. Raises DataError."""
    found: dict[int, str] = {}
    for item in _ITEM.finditer(read_text(path)):
        number, name = _ID.search(item[1]), _NAME.search(item[1])
        if number is None or name is None:
            raise DataError(f"{path}: item {len(found) + 1} has no id and name")
        found[int(number[1])] = re.sub(r"\\(.)", r"\1", name[2])
    return dict(sorted(found.items()))


def write(found: AnnotatedSet, out: Path, name: str) -> None:
    """Write `NAME.tfrecord`, in which the images are, and `label_map.pbtxt`."""
    write_records(
        out / f"{name}.tfrecord", (_example(image, found.class_names) for image in found.images)
    )
    items = "".join(
        f"item {{\n  id: {number}\n  name: {json.dumps(one, ensure_ascii=False)}\n}}\n"
        for number, one in enumerate(found.class_names, 1)
    )
    write_text(out / LABEL_MAP, items)


def _example(image: AnnotatedImage, names: Sequence[str]) -> bytes:
    encoded = image.path.read_bytes()
    objects = image.objects
    file_name = image.path.name.encode()
    source_id = file_name if image.id is None else str(image.id).encode()
    suffix = image.path.suffix.lower().lstrip(".")
    features: dict[str, list[Any]] = {
        "image/height": [image.height],
        "image/width": [image.width],
        "image/filename": [file_name],
        "image/source_id": [source_id],
        "image/key/sha256": [hashlib.sha256(encoded).hexdigest().encode()],
        "image/encoded": [encoded],
        "image/format": [("jpeg" if suffix == "jpg" else suffix).encode()],
        BOX + "xmin": [item.corners[0] / image.width for item in objects],
        BOX + "xmax": [item.corners[2] / image.width for item in objects],
        BOX + "ymin": [item.corners[1] / image.height for item in objects],
        BOX + "ymax": [item.corners[3] / image.height for item in objects],
        "image/object/class/text": [names[item.label].encode() for item in objects],
        "image/object/class/label": [item.label + 1 for item in objects],
        "image/object/difficult": [int(item.difficult) for item in objects],
        "image/object/is_crowd": [int(item.crowd) for item in objects],
    }
    return make_example(features)
