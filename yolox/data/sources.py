"""Where a data folder has its annotations, in which of the formats that training reads directly.

- COCO: `annotations/FILE.json`, or `FILE.json` in the folder itself.
- Pascal VOC: `ImageSets/Main/SPLIT.txt`, `Annotations/*.xml`, `JPEGImages`.
- YOLO: `data.yaml` with the split's key.

The split is what `train_ann`, `val_ann` and so on name. The COCO names that these options have by
default stand for the splits `train` and `val` of the other two.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolox.data.annotations import json_bytes, load_json, parse_json
from yolox.data.columns import read_columns
from yolox.data.formats import voc, yolo
from yolox.data.formats.coco import as_coco
from yolox.data.formats.pictures import Pictures
from yolox.data.formats.record import AnnotatedSet
from yolox.data.problems import Problem
from yolox.files import file_hash, is_file, text_hash

SPLITS = {"instances_train2017.json": "train", "instances_val2017.json": "val"}


@dataclass(frozen=True)
class Source:
    """The annotations of a data set. path: what names them in messages. split: of `data.yaml`."""

    path: Path
    data_dir: Path
    format: str = "coco"
    split: str = ""

    def content(self) -> dict[str, Any]:
        """A COCO dictionary with file names relative to the data folder, as it is stated.

        Raises DataError.
        """
        return load_json(self.path) if self.format == "coco" else self.read()[0]

    def read(self) -> tuple[dict[str, Any], list[Problem]]:
        """The same, with annotations as `Columns` where they are regular; and what is left out.

        Raises DataError.
        """
        if self.format == "coco":
            content = json_bytes(self.path)
            return read_columns(content) or parse_json(content, self.path), []
        if self.format == "voc":
            # The classes of all annotations in the folder, so that its splits agree.
            root = self.path.parent.parent.parent  # links are looked at by the data set
            pictures = Pictures(root / "JPEGImages", allow_outside=True)
            found = voc.read(self.path, pictures, voc.class_names(root / "Annotations"))
        else:
            found = yolo.read(Path(f"{self.path}#{self.split}"), None, None)
        left_out = [problem for problem in found.problems if problem.kind == "zero_size"]
        return _relative(found, self.data_dir), left_out

    def hash(self) -> str:
        """SHA-256 of the file, or of what is read where the annotations are several files."""
        return file_hash(self.path) if self.format == "coco" else text_hash(self.content())


def find_source(data_dir: Path, name: str) -> Source:
    """The annotations that a data folder has under a name. They need not exist."""
    nested, beside = data_dir / "annotations" / name, data_dir / name
    if is_file(nested) or is_file(beside):
        return Source(nested if is_file(nested) else beside, data_dir)
    split = SPLITS.get(name, name).removesuffix(".txt")
    listed, described = data_dir / "ImageSets" / "Main" / f"{split}.txt", data_dir / "data.yaml"
    if is_file(listed):
        return Source(listed, data_dir, "voc")
    if is_file(described):
        return Source(described, data_dir, "yolo", split)
    return Source(nested, data_dir)


def _relative(found: AnnotatedSet, data_dir: Path) -> dict[str, Any]:
    """As a COCO dictionary whose file names are paths from the data folder."""
    content = as_coco(found)
    for entry, image in zip(content["images"], found.images, strict=True):
        entry["file_name"] = os.path.relpath(image.path, data_dir)
    return content
