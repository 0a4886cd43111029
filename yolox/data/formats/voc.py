"""Pascal VOC: an XML file per image, in the devkit's folders or in one flat folder."""

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from yolox.data.formats.files import Element, listed, numbers, read_text, read_xml
from yolox.data.formats.pictures import Pictures
from yolox.data.formats.record import AnnotatedImage, AnnotatedSet, Collector, NamedObject
from yolox.data.image import header_size
from yolox.errors import DataError
from yolox.files import write_text
from yolox.values import shown

_NAME = re.compile(r"[^/\\\x00]+")  # a file in a folder, not a path
KEYS = ("xmin", "ymin", "xmax", "ymax")


def read(source: Path, pictures: Pictures | None, classes: Sequence[str] | None) -> AnnotatedSet:
    """A folder of XML files, a devkit's folder, or the list of a split (`ImageSets/Main/*.txt`).

    Corners stand as they are written: nothing is subtracted for VOC's counting from 1. Image sizes
    are those of the files, turned as their EXIF orientation says. Raises DataError.
    """
    files = _files(source)
    root = files[0].parent
    images = pictures or Pictures(
        root.parent / "JPEGImages" if (root.parent / "JPEGImages").is_dir() else root
    )
    collector = Collector(source, classes)
    for path in files:
        picture = images.find(path.stem, str(path))
        objects = [
            _object(node, f"{path}: object {number}")
            for number, node in enumerate(read_xml(path).iter("object"), 1)
        ]
        collector.add(picture, header_size(picture), objects, str(path))
    return collector.result()


def class_names(source: Path) -> list[str]:
    """The classes of a folder or of the list of a split, sorted. Raises DataError."""
    return sorted(object_counts(source))


def object_counts(source: Path) -> Counter[str]:
    """Objects of each class in the XML files, before any is left out. Raises DataError."""
    return Counter(
        (node.findtext("name") or "").strip()
        for path in _files(source)
        for node in read_xml(path).iter("object")
    )


def split_file(voc_dir: Path, split: str) -> Path:
    """The list of a split. Raises DataError naming those that there are."""
    folder = voc_dir / "ImageSets" / "Main"
    path = folder / f"{split}.txt"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.txt"))) or "none"
        raise DataError(f"{path} does not exist; splits there: {known}")
    return path


def _files(source: Path) -> list[Path]:
    """The XML files, in order. Raises DataError."""
    if source.suffix != ".txt":
        nested = source / "Annotations"
        return listed(nested if nested.is_dir() else source, ".xml")
    stems = [line.split()[0] for line in read_text(source).splitlines() if line.strip()]
    for stem in stems:
        if not _NAME.fullmatch(stem):
            raise DataError(f"{source}: {shown(stem)} is no name of an image in JPEGImages")
    twice = [stem for stem, count in Counter(stems).items() if count > 1]
    if not stems or twice:
        reason = f"image {twice[0]} stands twice" if twice else "lists no image"
        raise DataError(f"{source}: {reason}")
    folder = source.parent.parent.parent / "Annotations"  # of ROOT/ImageSets/Main/SPLIT.txt
    return [folder / f"{stem}.xml" for stem in stems]


def _object(node: Element, where: str) -> NamedObject:
    texts = [node.findtext(f"bndbox/{key}") for key in KEYS]
    x1, y1, x2, y2 = numbers(texts, 4, f"{where}: bndbox")
    difficult = (node.findtext("difficult") or "0").strip() not in ("0", "")
    name = (node.findtext("name") or "").strip()
    return NamedObject(name, (x1, y1, x2, y2), where, difficult)


def write(found: AnnotatedSet, out: Path, name: str) -> None:
    """Write `Annotations/*.xml` and `ImageSets/Main/NAME.txt`; images are in `JPEGImages`."""
    for image in found.images:
        text = ElementTree.tostring(_xml(image, found.class_names), encoding="unicode")
        write_text(out / "Annotations" / f"{image.path.stem}.xml", text + "\n")
    stems = "".join(f"{image.path.stem}\n" for image in found.images)
    write_text(out / "ImageSets" / "Main" / f"{name}.txt", stems)


def _xml(image: AnnotatedImage, names: Sequence[str]) -> Element:
    root = ElementTree.Element("annotation")
    _add(root, "folder", "JPEGImages")
    _add(root, "filename", image.path.name)
    size = _add(root, "size", None)
    for key, value in (("width", image.width), ("height", image.height), ("depth", 3)):
        _add(size, key, str(value))
    _add(root, "segmented", "0")
    for item in image.objects:
        node = _add(root, "object", None)
        _add(node, "name", names[item.label])
        _add(node, "pose", "Unspecified")
        _add(node, "truncated", "0")
        _add(node, "difficult", str(int(item.difficult)))
        box = _add(node, "bndbox", None)
        for key, corner in zip(KEYS, item.corners, strict=True):
            _add(box, key, str(int(corner)) if float(corner).is_integer() else repr(float(corner)))
    ElementTree.indent(root)
    return root


def _add(parent: Element, name: str, text: str | None) -> Element:
    node = ElementTree.SubElement(parent, name)
    node.text = text
    return node
