"""One JSON file per image: `filename`, and `annotations` with `attribute` and four `points`.

`attribute` is the class, `points` are the four corners as shares of the image.
"""

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

CORNERS = 4


def read(source: Path, pictures: Pictures | None, classes: Sequence[str] | None) -> AnnotatedSet:
    """A folder of JSON files. Raises DataError."""
    return read_folder(source, pictures, classes, ("filename", "annotations"), _object)


def _object(entry: dict[str, Any], size_wh: tuple[int, int], where: str) -> NamedObject:
    points = entry.get("points")
    if not isinstance(points, list) or len(points) != CORNERS:
        raise DataError(f"{where}: points {shown(points)} are not four corners")
    found = [
        numbers([p["x"], p["y"]] if isinstance(p, dict) and {"x", "y"} <= p.keys() else p, 2, where)
        for p in points
    ]
    xs, ys = [x for x, _ in found], [y for _, y in found]
    if min(*xs, *ys) < 0 or max(*xs, *ys) > 1:
        raise DataError(f"{where}: points {shown(points)} are not all between 0 and 1")
    width, height = size_wh
    name = entry.get("attribute")
    corners = (min(xs) * width, min(ys) * height, max(xs) * width, max(ys) * height)
    return NamedObject(
        name if isinstance(name, str) else "",
        corners,
        where,
        entry.get("difficult") in (1, True),
        entry.get("crowd") in (1, True),
    )


def write(found: AnnotatedSet, out: Path, name: str) -> None:
    """Write a JSON file per image; images are beside them. `name` has no place in this format."""
    for image in found.images:
        entries = []
        for item in image.objects:
            x1, y1, x2, y2 = item.corners
            left, top, right, bottom = (
                x1 / image.width,
                y1 / image.height,
                x2 / image.width,
                y2 / image.height,
            )
            entries.append(
                {
                    "attribute": found.class_names[item.label],
                    "points": [[left, top], [right, top], [right, bottom], [left, bottom]],
                    "difficult": int(item.difficult),
                    "crowd": int(item.crowd),
                }
            )
        content = {"filename": image.path.name, "annotations": entries}
        write_json(out / f"{image.path.stem}.json", content, indent=1)
