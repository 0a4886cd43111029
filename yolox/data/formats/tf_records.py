"""The files of TFRecord, without TensorFlow: records with checksums, which hold `Example` messages.

A file is a row of records: length (8 bytes), its checksum, the data, their checksum (masked
crc32c, 4 bytes each, little-endian). The data are a protocol-buffer `Example`: features by name,
each a list of bytes, floats or integers.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from yolox.data.formats.crc32c import masked_crc32c
from yolox.errors import DataError
from yolox.files import open_regular, whole_file

LARGEST_RECORD = 2**30  # bytes
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
KINDS = {1: "bytes", 2: "floats", 3: "integers"}  # of a feature's list

Features = dict[str, list[Any]]


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
            if masked_crc32c(head[:8]) != check:
                raise DataError(f"{where}: wrong checksum of its length")
            if length > LARGEST_RECORD:
                raise DataError(f"{where}: {length} bytes are too many")
            data, tail = file.read(length), file.read(4)
            if len(data) < length or len(tail) < 4:
                raise DataError(f"{where}: cut off")
            if masked_crc32c(data) != struct.unpack("<I", tail)[0]:
                raise DataError(f"{where}: wrong checksum of its data")
            yield data


def write_records(path: Path, parts: Sequence[bytes] | Iterator[bytes]) -> None:
    """Write records; the file is whole or not there."""
    with whole_file(path) as work, work.open("wb") as file:
        for data in parts:
            head = struct.pack("<Q", len(data))
            file.write(head + struct.pack("<I", masked_crc32c(head)))
            file.write(data + struct.pack("<I", masked_crc32c(data)))


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
