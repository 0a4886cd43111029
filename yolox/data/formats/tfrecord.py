"""TFRecord files of the TF object-detection API, without TensorFlow.

A file is a row of records: length (8 bytes), its checksum, the data, their checksum (masked
crc32c, 4 bytes each, little-endian). The data are a protocol-buffer `Example`: features by name,
each a list of bytes, floats or integers.
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from yolox.data.formats.files import read_text
from yolox.data.formats.pictures import Pictures, size_of
from yolox.data.formats.record import AnnotatedImage, AnnotatedSet, Collector, NamedObject
from yolox.errors import DataError, UsageError
from yolox.files import open_regular, whole_file, write_text

MASK_DELTA = 0xA282EAD8
LARGEST_RECORD = 2**30  # bytes
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
KINDS = {1: "bytes", 2: "floats", 3: "integers"}  # of a feature's list
BOX = "image/object/bbox/"
LABEL_MAP = "label_map.pbtxt"

Features = dict[str, list[Any]]


def read(source: Path, pictures: Pictures | None, classes: Sequence[str] | None) -> AnnotatedSet:
    """A TFRecord file; images are taken from a folder, by their `image/filename`.

    Classes are those of `label_map.pbtxt` beside it, else those that occur. Raises DataError naming
    the record, UsageError where crc32c is not installed.
    """
    images = pictures or Pictures(source.parent)
    known = source.parent / LABEL_MAP
    names = list(_label_map(known).values()) if known.is_file() else None
    collector = Collector(source, classes if classes is not None else names)
    for number, data in enumerate(records(source), 1):
        where = f"{source}: record {number}"
        try:
            features = parse_example(data)
        except (ValueError, IndexError, struct.error) as error:
            raise DataError(f"{where}: not a TF Example: {error}") from error
        path = images.find(_one_text(features, "image/filename", where), where)
        size_wh = size_of(path)
        objects = _objects(features, size_wh, _label_map(known) if known.is_file() else {}, where)
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
    for block in read_text(path).split("item")[1:]:
        values = {}
        for line in block.replace("{", "\n").replace("}", "\n").replace(",", "\n").splitlines():
            key, colon, value = line.partition(":")
            if colon:
                values[key.strip()] = value.strip().strip("\"'")
        try:
            found[int(values["id"])] = values["name"]
        except (KeyError, ValueError) as error:
            raise DataError(f"{path}: item {len(found) + 1} has no id and name") from error
    return dict(sorted(found.items()))


# the file


def checksum(data: bytes) -> int:
    """Masked crc32c. Raises UsageError where the package is not installed."""
    try:
        from crc32c import crc32c  # noqa: PLC0415 - an extra: imported where it is used
    except ImportError as error:
        raise UsageError("TFRecord files need crc32c: pip install -e '.[tfrecord]'") from error
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + MASK_DELTA) & 0xFFFFFFFF


def records(path: Path) -> Iterator[bytes]:
    """The data of each record. Raises DataError naming the record that is cut off or damaged."""
    try:
        file = open_regular(path)
    except OSError as error:
        raise DataError(f"annotation file {path}: {error.strerror}") from error
    with file:
        number = 0
        while head := file.read(12):
            number += 1
            where = f"{path}: record {number}"
            if len(head) < 12:
                raise DataError(f"{where}: cut off")
            length, check = struct.unpack("<QI", head)
            if checksum(head[:8]) != check:
                raise DataError(f"{where}: wrong checksum of its length")
            if length > LARGEST_RECORD:
                raise DataError(f"{where}: {length} bytes are too many")
            data, tail = file.read(length), file.read(4)
            if len(data) < length or len(tail) < 4:
                raise DataError(f"{where}: cut off")
            if checksum(data) != struct.unpack("<I", tail)[0]:
                raise DataError(f"{where}: wrong checksum of its data")
            yield data


def write_records(path: Path, parts: Sequence[bytes] | Iterator[bytes]) -> None:
    """Write records; the file is whole or not there."""
    with whole_file(path) as work, work.open("wb") as file:
        for data in parts:
            head = struct.pack("<Q", len(data))
            file.write(head + struct.pack("<I", checksum(head)))
            file.write(data + struct.pack("<I", checksum(data)))


# protocol buffers


def parse_example(data: bytes) -> Features:
    """The features of an `Example`. Raises ValueError or IndexError for other data."""
    features: Features = {}
    for field, value in _fields(data):
        if field != 1:
            continue
        for inner, entry in _fields(_as_bytes(value)):
            if inner != 1:
                continue
            parts = dict(_fields(_as_bytes(entry)))
            features[_as_bytes(parts.get(1, b"")).decode()] = _values(_as_bytes(parts.get(2, b"")))
    return features


def _values(feature: bytes) -> list[Any]:
    """The list of a `Feature`: packed or one by one."""
    found: list[Any] = []
    for field, content in _fields(feature):
        kind = KINDS.get(field)
        for inner, value in _fields(_as_bytes(content)):
            if inner != 1 or kind is None:
                continue
            if kind == "bytes":
                found.append(_as_bytes(value))
            elif kind == "floats":
                raw = _as_bytes(value)
                found += struct.unpack(f"<{len(raw) // 4}f", raw)
            elif isinstance(value, int):
                found.append(_signed(value))
            else:
                place = 0
                while place < len(value):
                    number, place = _varint(value, place)
                    found.append(_signed(number))
    return found


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a message: numbers, or bytes for everything else."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        field, wire = tag >> 3, tag & 7
        if wire == VARINT:
            number, place = _varint(data, place)
            yield field, number
            continue
        if wire == BYTES:
            size, place = _varint(data, place)
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire}")
        if place + size > len(data):
            raise ValueError("a field is cut off")
        yield field, data[place : place + size]
        place += size


def _as_bytes(value: bytes | int) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number in the place of a message")
    return value


def _varint(data: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[place]
        number |= (byte & 0x7F) << shift
        place += 1
        if not byte & 0x80:
            return number, place
        shift += 7
        if shift > 63:
            raise ValueError("a number without an end")


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


def make_example(features: Mapping[str, Sequence[Any]]) -> bytes:
    """An `Example` of features: all bytes, all floats or all integers."""
    entries = b"".join(
        _message(1, _message(1, key.encode()) + _message(2, _feature(values)))
        for key, values in features.items()
    )
    return _message(1, entries)


def _feature(values: Sequence[Any]) -> bytes:
    if values and isinstance(values[0], bytes):
        return _message(1, b"".join(_message(1, value) for value in values))
    if values and isinstance(values[0], float):
        return _message(2, _message(1, struct.pack(f"<{len(values)}f", *values)))
    return _message(3, _message(1, b"".join(_number(value) for value in values)))


def _message(field: int, data: bytes) -> bytes:
    return _number(field << 3 | BYTES) + _number(len(data)) + data


def _number(value: int) -> bytes:
    value &= 2**64 - 1
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def write(found: AnnotatedSet, out: Path, name: str) -> None:
    """Write `NAME.tfrecord`, in which the images are, and `label_map.pbtxt`."""
    write_records(
        out / f"{name}.tfrecord", (_example(image, found.class_names) for image in found.images)
    )
    items = "".join(
        f"item {{\n  id: {number}\n  name: '{one}'\n}}\n"
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
