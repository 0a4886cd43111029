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

    place: what a reader is given of a written data set. images: where it has its images. Both below
    its folder; NAME stands for the split. keeps: what of difficult and crowd flags and ids it has a
    place for.
    """

    read: Reader
    write: Writer | None = None
    place: str = ""
    images: str | None = None
    keeps: tuple[str, ...] = ()

    def source(self, folder: Path, name: str) -> Path:
        """What its reader is given of a data set that was written to a folder."""
        return folder / self.place.replace("NAME", name)


BOTH = ("difficult", "crowd")
FORMATS: dict[str, Format] = {
    "coco": Format(coco.read, coco.write, "annotations/instances_NAME.json", "NAME", (*BOTH, "id")),
    "voc": Format(voc.read, voc.write, "ImageSets/Main/NAME.txt", "JPEGImages", ("difficult",)),
    "yolo": Format(yolo.read, yolo.write, "data.yaml#NAME", "images/NAME"),
    "labelme": Format(labelme.read, labelme.write, ".", ".", BOTH),
    "road-json": Format(road_json.read, road_json.write, ".", ".", BOTH),
    "tfrecord": Format(tfrecord.read, tfrecord.write, "NAME.tfrecord", None, BOTH),
    "cvat": Format(cvat.read),
    "openimages": Format(openimages.read),
}
