"""A split of a Pascal VOC folder as a COCO dictionary, as `datasets/voc_to_coco.py` makes it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolox.data.formats import voc
from yolox.data.formats.coco import as_coco
from yolox.data.formats.pictures import Pictures
from yolox.data.formats.record import without_difficult
from yolox.data.problems import Problem


def voc_to_coco(
    voc_dir: Path,
    split: str,
    class_names: Sequence[str] | None,
    keep_difficult: bool = True,
    allow_outside: bool = False,
) -> tuple[dict[str, Any], list[Problem]]:
    """The dictionary, and what is wrong with the boxes."""
    listed = voc.split_file(voc_dir, split)
    pictures = Pictures(voc_dir / "JPEGImages", allow_outside)
    found = voc.read(listed, pictures, class_names)
    if not keep_difficult:
        found = without_difficult(found)
    return as_coco(found), list(found.problems)


def voc_objects(voc_dir: Path, split: str) -> Counter[str]:
    """Objects of each class before any is left out."""
    return voc.object_counts(voc.split_file(voc_dir, split))
