"""labelme: a JSON file per image, with rectangles."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolox.data.formats.files import numbers
from yolox.data.formats.per_image import read_folder
from yolox.data.formats.pictures import Pictures
from yolox.data.formats.record import AnnotatedSet, NamedObject
from yolox.errors import DataError
from yolox.files import write_json
from yolox.values import shown

VERSION = "5.0.0"  # of the form that is written


def read(source: Path, pictures: Pictures | None, classes: Sequence[str] | None) -> AnnotatedSet:
    """A folder of JSON files. Polygons and circles are read as the boxes around them.

    Raises DataError.
    """
    return read_folder(source, pictures, classes, ("imagePath", "shapes"), _object)


def _object(shape: dict[str, Any], size_wh: tuple[int, int], where: str) -> NamedObject:
    points = shape.get("points")
    if not isinstance(points, list) or len(points) < 2:
        raise DataError(f"{where}: points {shown(points)} are no outline")
    found = [numbers(point, 2, f"{where}: points") for point in points]
    if shape.get("shape_type") == "circle" and len(found) == 2:
        (x, y), (u, v) = found
        radius = ((u - x) ** 2 + (v - y) ** 2) ** 0.5
        found = [[x - radius, y - radius], [x + radius, y + radius]]
    xs, ys = [x for x, _ in found], [y for _, y in found]
    flags = shape.get("flags")
    flags = flags if isinstance(flags, dict) else {}
    name = shape.get("label")
    return NamedObject(
        name if isinstance(name, str) else "",
        (min(xs), min(ys), max(xs), max(ys)),
        where,
        flags.get("difficult") is True,
        flags.get("crowd") is True,
    )


def write(found: AnnotatedSet, out: Path, name: str) -> None:
    """Write a JSON file per image; images are beside them. `name` has no place in this format."""
    for image in found.images:
        shapes = [
            {
                "label": found.class_names[item.label],
                "points": [list(item.corners[:2]), list(item.corners[2:])],
                "group_id": None,
                "shape_type": "rectangle",
                "flags": {"difficult": item.difficult, "crowd": item.crowd},
            }
            for item in image.objects
        ]
        content: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": image.path.name,
            "imageData": None,
            "imageHeight": image.height,
            "imageWidth": image.width,
        }
        write_json(out / f"{image.path.stem}.json", content, indent=1)
