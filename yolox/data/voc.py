"""Pascal VOC data sets, converted to COCO JSON."""

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from yolox.data.annotations import LARGEST_SIDE, is_writable
from yolox.data.image import header_size
from yolox.data.paths import ImageFiles
from yolox.data.problems import Problem
from yolox.errors import DataError
from yolox.files import open_regular
from yolox.values import shown

Element = ElementTree.Element
_NAME = re.compile(r"[^/\\\x00]+")  # a file in a folder, not a path


@dataclass(frozen=True)
class _Object:
    """One `<object>`: its number in the file (from 1), class, corners as written, and flag."""

    number: int
    name: str
    corners: tuple[float, float, float, float]
    difficult: bool


def voc_to_coco(
    voc_dir: Path,
    split: str,
    class_names: Sequence[str] | None,
    keep_difficult: bool = True,
    allow_outside: bool = False,
) -> tuple[dict[str, Any], list[Problem]]:
    """Read `ImageSets/Main/<split>.txt` and its annotations; give a COCO dict and its problems.

    Boxes are x = xmin, y = ymin, width = xmax - xmin, height = ymax - ymin, in pixels exactly as
    written: nothing is subtracted for VOC's counting from 1, and nothing is clipped. Image sizes
    are those of the image files, turned as their EXIF orientation says. Ids count from 1; an
    annotation keeps VOC's flag as `difficult` (0 or 1).

    class_names: the classes in order of their ids; None takes those of this split, sorted. With
        several splits name them, so that all agree (`voc_objects` counts them).
    keep_difficult: whether objects marked as difficult are kept.
    allow_outside: whether images may be links to files outside `voc_dir`.

    A problem names the XML file and the object's number in it. Boxes without area are left out;
    boxes that leave the image are reported and kept.

    Raises DataError, naming the file, where a file is missing or broken or a class is unknown.
    """
    if class_names is None:
        class_names = sorted(voc_objects(voc_dir, split))
    category_of = {name: number for number, name in enumerate(class_names, 1)}
    if len(category_of) != len(class_names):
        raise DataError(f"class names {list(class_names)}: one stands twice")
    stems = _stems(voc_dir, split)
    files = _image_files(voc_dir, set(stems), allow_outside)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for stem in stems:
        xml_file = voc_dir / "Annotations" / f"{stem}.xml"
        if stem not in files:
            raise DataError(f"{xml_file}: no image {voc_dir / 'JPEGImages' / stem}.*")
        width, height = header_size(files[stem])
        image = {"id": len(images) + 1, "file_name": files[stem].name}
        images.append({**image, "width": width, "height": height})
        for item in _objects(xml_file):
            category = _category(item.name, category_of, xml_file)
            problem = _problem(item, (width, height), xml_file)
            if problem is not None:
                problems.append(problem)
            if (problem is None or problem.kind != "zero_size") and (
                keep_difficult or not item.difficult
            ):
                annotation = {"id": len(annotations) + 1, "image_id": image["id"]}
                annotations.append({**annotation, "category_id": category, **_box(item)})
    categories = [{"id": number, "name": name} for name, number in category_of.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return content, problems


def voc_objects(voc_dir: Path, split: str) -> Counter[str]:
    """Number of objects of each class in a split, before any is left out."""
    return Counter(
        item.name
        for stem in _stems(voc_dir, split)
        for item in _objects(voc_dir / "Annotations" / f"{stem}.xml")
    )


def _stems(voc_dir: Path, split: str) -> list[str]:
    """Image names without suffix, as listed for the split."""
    folder = voc_dir / "ImageSets" / "Main"
    path = folder / f"{split}.txt"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.txt"))) or "none"
        raise DataError(f"{path} does not exist; splits there: {known}")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    stems = [line.split()[0] for line in lines if line.strip()]
    for stem in stems:
        if not _NAME.fullmatch(stem):
            raise DataError(f"{path}: {shown(stem)} is no name of an image in JPEGImages")
    if not stems:
        raise DataError(f"{path} lists no image")
    twice = [stem for stem, count in Counter(stems).items() if count > 1]
    if twice:
        raise DataError(f"{path}: image {twice[0]} stands twice")
    return stems


def _image_files(voc_dir: Path, stems: Set[str], allow_outside: bool) -> dict[str, Path]:
    """The image file of each stem, where there is one. Raises DataError."""
    folder = voc_dir / "JPEGImages"
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist")
    found = {path.stem: path for path in sorted(folder.iterdir(), reverse=True)}
    files = {stem: found[stem] for stem in stems if stem in found}
    outside = ImageFiles(files.values(), None if allow_outside else [voc_dir, folder]).outside
    if outside:
        raise DataError(
            f"{len(outside)} images are links to files outside {voc_dir} (--allow-outside reads "
            f"them), first: {outside[0]}"
        )
    return files


def _objects(xml_file: Path) -> list[_Object]:
    try:
        with open_regular(xml_file) as file:
            root = ElementTree.fromstring(file.read())
    except OSError as error:
        raise DataError(f"annotation file {xml_file}: {error.strerror}") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the encoding, too
        raise DataError(f"annotation file {xml_file}: not valid XML: {error}") from error
    return [_object(node, xml_file, number) for number, node in enumerate(root.iter("object"), 1)]


def _object(node: Element, xml_file: Path, number: int) -> _Object:
    name = (node.findtext("name") or "").strip()
    texts = [node.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
    try:
        x1, y1, x2, y2 = (float(text or "") for text in texts)
    except ValueError as error:
        raise DataError(f"{xml_file}: object {number}: bndbox {shown(texts)}") from error
    sensible = all(abs(value) <= LARGEST_SIDE for value in (x1, y1, x2, y2))  # NaN is not
    if not is_writable(name) or not sensible:
        raise DataError(f"{xml_file}: object {number}: name {shown(name)}, bndbox {shown(texts)}")
    difficult = (node.findtext("difficult") or "0").strip() not in ("0", "")
    return _Object(number, name, (x1, y1, x2, y2), difficult)


def _category(name: str, category_of: dict[str, int], xml_file: Path) -> int:
    if name in category_of:
        return category_of[name]
    lowered = {known.lower(): known for known in category_of}
    match = get_close_matches(name.lower(), lowered, n=1, cutoff=0.0)
    hint = f"; the nearest known one is {lowered[match[0]]!r}" if match else ""
    raise DataError(f"{xml_file}: unknown class {shown(name)}{hint}")


def _problem(item: _Object, size_wh: tuple[int, int], xml_file: Path) -> Problem | None:
    """What is wrong with the box in an image of this width and height (pixels), if anything."""
    x1, y1, x2, y2 = item.corners
    width, height = size_wh
    if x2 <= x1 or y2 <= y1:
        kind = "zero_size"
    elif x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        kind = "outside_image"
    elif x1 < 0 or y1 < 0 or x2 > width or y2 > height:
        kind = "partly_outside"
    else:
        return None
    detail = f"{item.name} at {[x1, y1, x2, y2]} in {width} x {height}"
    return Problem(kind, f"object {item.number}", xml_file.name, detail)


def _box(item: _Object) -> dict[str, Any]:
    x1, y1, x2, y2 = item.corners
    area = (x2 - x1) * (y2 - y1)
    box = [x1, y1, x2 - x1, y2 - y1]
    return {"bbox": box, "area": area, "iscrowd": 0, "difficult": int(item.difficult)}
