"""CVAT's XML for images: one file for all of them."""

from collections.abc import Sequence
from pathlib import Path

from yolox.data.formats.files import numbers, read_xml
from yolox.data.formats.pictures import Pictures
from yolox.data.formats.record import AnnotatedSet, Collector, NamedObject
from yolox.data.image import header_size
from yolox.errors import DataError

KEYS = ("xtl", "ytl", "xbr", "ybr")


def read(source: Path, pictures: Pictures | None, classes: Sequence[str] | None) -> AnnotatedSet:
    """An XML file. Classes are in the order of its labels. Raises DataError."""
    root = read_xml(source)
    labels = [(node.text or "").strip() for node in root.findall("meta//labels/label/name")]
    images = pictures or Pictures(source.parent)
    collector = Collector(source, classes if classes is not None else labels or None)
    for node in root.findall("image"):
        name = node.get("name") or ""
        where = f"{source}: image {name!r}"
        picture = images.find(name, where)
        objects = []
        for number, box in enumerate(node.findall("box"), 1):
            place = f"{where}: box {number}"
            x1, y1, x2, y2 = numbers([box.get(key) for key in KEYS], 4, place)
            objects.append(NamedObject(box.get("label") or "", (x1, y1, x2, y2), place))
        collector.add(picture, header_size(picture), objects, where)
    if root.tag != "annotations":
        raise DataError(f"{source}: <{root.tag}> is not CVAT's <annotations>")
    return collector.result()
