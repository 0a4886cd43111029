"""Which formats there are."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from yolox.data.formats import coco, cvat, labelme, openimages, road_json, tfrecord, voc, yolo
from yolox.data.formats.pictures import Pictures
from yolox.data.formats.record import AnnotatedSet

Reader = Callable[[Path, Pictures | None, Sequence[str] | None], AnnotatedSet]
Writer = Callable[[AnnotatedSet, Path, str], None]


class Format(NamedTuple):
    """How a format is read and written.

    images: where a written data set has its images, below its folder; NAME stands for the split.
    keeps: what of difficult and crowd flags and ids it has a place for.
    """

    read: Reader
    write: Writer | None = None
    images: str | None = None
    keeps: tuple[str, ...] = ()


FORMATS: dict[str, Format] = {
    "coco": Format(coco.read, coco.write, "NAME", ("difficult", "crowd", "id")),
    "voc": Format(voc.read, voc.write, "JPEGImages", ("difficult",)),
    "yolo": Format(yolo.read, yolo.write, "images/NAME"),
    "labelme": Format(labelme.read, labelme.write, ".", ("difficult", "crowd")),
    "road-json": Format(road_json.read, road_json.write, ".", ("difficult", "crowd")),
    "tfrecord": Format(tfrecord.read, tfrecord.write, None, ("difficult", "crowd")),
    "cvat": Format(cvat.read),
    "openimages": Format(openimages.read),
}
