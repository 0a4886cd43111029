"""YOLO text files: a line `class x y width height` per object, as shares of the image.

The classes stand in Ultralytics' `data.yaml`, in darknet's `obj.names` (named by `obj.data`), or in
a `classes.txt` beside the label files.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from yolox.config_text import yaml_value
from yolox.data.formats.files import listed, numbers, read_text
from yolox.data.formats.pictures import Pictures
from yolox.data.formats.record import AnnotatedSet, Collector, NamedObject
from yolox.data.image import header_size
from yolox.errors import DataError
from yolox.files import write_text
from yolox.values import shown

SLACK = 1e-3  # by which a rounded box may leave its image
NAME_FILES = ("classes.txt", "obj.names", "labels.txt")
LISTS = ("classes", "obj", "labels", "train", "val", "valid", "test", "train2017")


def read(source: Path, pictures: Pictures | None, classes: Sequence[str] | None) -> AnnotatedSet:
    """`data.yaml#SPLIT`, `obj.data`, or a folder of label files (or with `labels` in it).

    An image of the label files' own image folder that has none has no objects; of other `pictures`,
    only those with a label file belong to the data set. Raises DataError.
    """
    folder, names = _described(source, classes)
    files = listed(folder, ".txt", lambda path: path.stem not in LISTS)
    images = pictures or Pictures(_images_beside(folder))
    collector = Collector(source, names)
    for path in files:
        picture = images.find(path.stem, str(path))
        size_wh = header_size(picture)
        objects = [
            _object(line.split(), size_wh, names, f"{path}: line {number}")
            for number, line in enumerate(read_text(path).splitlines(), 1)
            if line.strip()
        ]
        collector.add(picture, size_wh, objects, str(path))
    if pictures is None:
        labelled = {path.stem for path in files}
        for picture in images.others(labelled):
            collector.add(picture, header_size(picture), [], str(picture))
    return collector.result()


def _described(source: Path, classes: Sequence[str] | None) -> tuple[Path, list[str]]:
    """The folder of the label files, and the classes. Raises DataError."""
    text, _, split = str(source).partition("#")
    path = Path(text)
    if path.suffix in (".yaml", ".yml"):
        content = _yaml(path)
        return _split_folder(path, content, split or "train"), _yaml_names(path, content)
    if path.name == "obj.data":
        folder = path.parent / "obj_train_data"
        return folder, _listed_names(path.parent / "obj.names")
    if path.is_dir():
        folder = path / "labels" if (path / "labels").is_dir() else path
        for place in (path, folder, path.parent):
            for name in NAME_FILES:
                if (place / name).is_file():
                    return folder, _listed_names(place / name)
            if (place / "data.yaml").is_file():
                return folder, _yaml_names(place / "data.yaml", _yaml(place / "data.yaml"))
        if classes is not None:
            return folder, list(classes)
        raise DataError(
            f"{source}: no class names ({', '.join(NAME_FILES)}, data.yaml): name --classes"
        )
    raise DataError(f"{source}: neither data.yaml, obj.data nor a folder of label files")


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml_value(read_text(path))
    except ValueError as error:
        raise DataError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds no keys and values")
    return content


def _yaml_names(path: Path, content: dict[str, Any]) -> list[str]:
    """Names as a list, or by number. Raises DataError."""
    names = content.get("names")
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise DataError(f"{path}: names {shown(names)} are no list of names")
    return names


def _split_folder(path: Path, content: dict[str, Any], split: str) -> Path:
    """The label folder of a split: images/... is labels/... Raises DataError."""
    images = content.get(split)
    if not isinstance(images, str):
        known = ", ".join(
            key for key in ("train", "val", "test") if isinstance(content.get(key), str)
        )
        raise DataError(f"{path}: {split} {shown(images)} is no folder (splits there: {known})")
    root = path.parent / str(content.get("path") or ".")
    plain = re.sub(r"^(\.\./)+", "", images)  # as some exports name folders beside the file
    for base, inside in ((root, images), (path.parent, images), (path.parent, plain)):
        folder = base / inside
        parts = [("labels" if part == "images" else part) for part in Path(inside).parts]
        labels = base.joinpath(*parts)
        if os.path.isdir(folder) and os.path.isdir(labels):  # noqa: PTH112 - a name may be too long
            return labels
    raise DataError(f"{path}: {split}: {images}: no such folder, or none with labels in its place")


def _listed_names(path: Path) -> list[str]:
    names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not names:
        raise DataError(f"{path}: names no class")
    return names


def _images_beside(labels: Path) -> Path:
    """The folder of a label folder's images: `images` in the place of `labels`, or the same."""
    parts = [("images" if part == "labels" else part) for part in labels.parts]
    beside = Path(*parts)
    return beside if beside.is_dir() else labels


def _object(
    words: Sequence[str], size_wh: tuple[int, int], names: Sequence[str], where: str
) -> NamedObject:
    if len(words) != 5:
        raise DataError(f"{where}: {len(words)} numbers, not 5 (class x y width height)")
    label, x, y, w, h = numbers(list(words), 5, where)
    if not label.is_integer() or not 0 <= label < len(names):
        raise DataError(f"{where}: class {words[0]} is not between 0 and {len(names) - 1}")
    if min(x, y, w, h) < 0 or max(x, y, w, h) > 1 + SLACK:
        raise DataError(f"{where}: {' '.join(words[1:])} are not all between 0 and 1")
    width, height = size_wh
    corners = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
    return NamedObject(names[int(label)], corners, where)


def write(found: AnnotatedSet, out: Path, name: str) -> None:
    """Write `labels/NAME/*.txt` and `data.yaml`; images are in `images/NAME`, which is made."""
    (out / "images" / name).mkdir(parents=True)
    for image in found.images:
        lines = []
        for item in image.objects:
            x1, y1, x2, y2 = item.corners
            values = (
                (x1 + x2) / 2 / image.width,
                (y1 + y2) / 2 / image.height,
                (x2 - x1) / image.width,
                (y2 - y1) / image.height,
            )
            lines.append(" ".join([str(item.label), *(f"{value:.10f}" for value in values)]) + "\n")
        write_text(out / "labels" / name / f"{image.path.stem}.txt", "".join(lines))
    content = {"path": ".", name: f"images/{name}", "names": dict(enumerate(found.class_names))}
    write_text(out / "data.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
