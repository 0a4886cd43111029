"""Folders with a JSON file per image."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from yolox.data.annotations import load_json
from yolox.data.formats.files import listed
from yolox.data.formats.pictures import Pictures
from yolox.data.formats.record import AnnotatedSet, Collector, NamedObject
from yolox.data.image import header_size
from yolox.errors import DataError

MakeObject = Callable[[dict[str, Any], tuple[int, int], str], NamedObject]


def read_folder(
    source: Path,
    pictures: Pictures | None,
    classes: Sequence[str] | None,
    keys: tuple[str, str],
    make: MakeObject,
) -> AnnotatedSet:
    """The JSON files of a folder. Raises DataError.

    keys: of the image's name and of the list of objects. make: an object from its entry, the
    image's width and height (pixels), and the entry's place for messages.
    """
    name_key, list_key = keys
    images = pictures or Pictures(source)
    collector = Collector(source, classes)
    for path in listed(source, ".json"):
        content = load_json(path)
        name, entries = content.get(name_key), content.get(list_key)
        picture = images.find(name if isinstance(name, str) else path.stem, str(path))
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(f"{path}: {list_key} are no list of objects")
        size_wh = header_size(picture)
        objects = [
            make(entry, size_wh, f"{path}: {list_key.removesuffix('s')} {number}")
            for number, entry in enumerate(entries, 1)
        ]
        collector.add(picture, size_wh, objects, str(path))
    return collector.result()
