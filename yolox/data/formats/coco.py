"""COCO JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolox.data.annotations import Entries, ImageRecord, categories, image_entries, load_json
from yolox.data.formats.pictures import Pictures
from yolox.data.formats.record import AnnotatedImage, AnnotatedObject, AnnotatedSet, unknown_class
from yolox.data.problems import FATAL
from yolox.errors import DataError
from yolox.files import write_json


def read(source: Path, pictures: Pictures | None, classes: Sequence[str] | None) -> AnnotatedSet:
    """An annotation file. Image sizes are those that it states. Raises DataError."""
    content = load_json(source)
    category_ids, names = categories(content, source)
    entries = image_entries(content, source)
    records = [
        ImageRecord(
            entry.id,
            str(pictures.find(entry.file_name, str(source))) if pictures else entry.file_name,
            entry.width,
            entry.height,
        )
        for entry in entries
    ]
    wanted = tuple(classes) if classes is not None else names
    for name in names:
        if name not in wanted:
            raise DataError(f"{source}: {unknown_class(name, wanted)}")
    checked = Entries(source, records, category_ids)
    objects: list[list[AnnotatedObject]] = [[] for _ in records]
    for found in checked.annotations(content):
        x, y, width, height = found.box_xywh
        identifier = found.id if isinstance(found.id, int | str) else None
        objects[found.image].append(
            AnnotatedObject(
                wanted.index(names[found.label]),
                (x, y, x + width, y + height),
                found.difficult,
                found.crowd,
                identifier,
                found.area,
            )
        )
    fatal = [problem for problem in checked.problems if problem.kind in FATAL]
    if fatal:
        raise DataError(f"{source}: {fatal[0]}")
    images = tuple(
        AnnotatedImage(record.path, record.width, record.height, tuple(found), record.id)
        for record, found in zip(records, objects, strict=True)
    )
    ids = tuple(category_ids) if wanted == names else None
    return AnnotatedSet(wanted, images, ids, tuple(checked.problems))


def write(found: AnnotatedSet, out: Path, name: str) -> None:
    """Write `annotations/instances_NAME.json`; images are in the folder NAME."""
    write_json(out / "annotations" / f"instances_{name}.json", as_coco(found))


def as_coco(found: AnnotatedSet) -> dict[str, Any]:
    """The same as a COCO dictionary. Ids are the source's where all have one, else 1, 2, ..."""
    category_ids = found.category_ids or tuple(range(1, len(found.class_names) + 1))
    own_ids = all(image.id is not None for image in found.images)
    objects = [item for image in found.images for item in image.objects]
    own_numbers = len({item.id for item in objects} - {None}) == len(objects)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(found.images, 1):
        identifier = image.id if own_ids else number
        images.append(
            {
                "id": identifier,
                "file_name": image.path.name,
                "width": image.width,
                "height": image.height,
            }
        )
        for item in image.objects:
            x1, y1, x2, y2 = item.corners
            annotations.append(
                {
                    "id": item.id if own_numbers else len(annotations) + 1,
                    "image_id": identifier,
                    "category_id": category_ids[item.label],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1) if item.area is None else item.area,
                    "iscrowd": int(item.crowd),
                    "difficult": int(item.difficult),
                }
            )
    names = zip(category_ids, found.class_names, strict=True)
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in names],
    }
