"""Open Images: one CSV file with a box per row, as shares of the image."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from yolox.data.formats.files import numbers, read_text
from yolox.data.formats.pictures import Pictures
from yolox.data.formats.record import AnnotatedSet, Collector, NamedObject
from yolox.data.image import header_size
from yolox.errors import DataError

EDGES = ("XMin", "YMin", "XMax", "YMax")
COLUMNS = ("ImageID", "LabelName", *EDGES)


def read(source: Path, pictures: Pictures | None, classes: Sequence[str] | None) -> AnnotatedSet:
    """A CSV file; decimal commas are understood. Groups (`IsGroupOf`) are crowds.

    Images that stand in no row are not part of the data set. Raises DataError.
    """
    reader = csv.DictReader(io.StringIO(read_text(source)))
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
    if missing:
        raise DataError(f"{source}: no column {missing[0]} (there are {reader.fieldnames})")
    images = pictures or Pictures(source.parent)
    rows: dict[Path, list[NamedObject]] = {}
    sizes: dict[Path, tuple[int, int]] = {}
    try:
        for number, row in enumerate(reader, 2):
            where = f"{source}: row {number}"
            path = images.find(row["ImageID"] or "", where)
            if path not in sizes:
                sizes[path] = header_size(path)
            edges = [(row[key] or "").replace(",", ".") for key in EDGES]
            x1, y1, x2, y2 = numbers(edges, 4, where)
            if min(x1, y1) < 0 or max(x2, y2) > 1:
                raise DataError(f"{where}: {edges} are not all between 0 and 1")
            width, height = sizes[path]
            corners = (x1 * width, y1 * height, x2 * width, y2 * height)
            crowd = (row.get("IsGroupOf") or "").strip() == "1"
            found = NamedObject(row["LabelName"] or "", corners, where, crowd=crowd)
            rows.setdefault(path, []).append(found)
    except csv.Error as error:
        raise DataError(f"{source}: not valid CSV: {error}") from error
    collector = Collector(source, classes)
    for path, objects in rows.items():
        collector.add(path, sizes[path], objects, str(source))
    return collector.result()
