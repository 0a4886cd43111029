"""Which detections and objects belong together, whatever their classes, and which are left over.

By falling score, every detection over a confidence takes the free object of its image that it
overlaps most, at least by half; objects of its own class come first. What is left over was missed,
or is false.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from yolox.eval.matches import FloatArray, IntArray
from yolox.eval.voc_ap import corners_of, ious

CONF = 0.25  # of detections that are looked at
LEAST_IOU = 0.5


@dataclass
class ImageErrors:
    """One image by its number. Boxes are [x1, y1, x2, y2] in pixels; labels are class indices.

    missed: objects without a detection, with their label. false: detections without an object.
    confused: detections of another class than their object's, with both labels.
    """

    image: int
    missed: list[tuple[list[float], int]] = field(default_factory=list)
    false: list[tuple[list[float], int, float]] = field(default_factory=list)
    confused: list[tuple[list[float], int, int]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """All errors."""
        return len(self.missed) + len(self.false) + len(self.confused)


@dataclass(frozen=True)
class Errors:
    """Of a whole data set.

    matrix: [K + 1, K + 1] objects (rows) by what they were detected as (columns); the last column
        are missed ones, the last row false detections.
    """

    names: tuple[str, ...]
    matrix: IntArray
    images: tuple[ImageErrors, ...]

    def worst(self, count: int) -> list[ImageErrors]:
        """Images with the most errors, at most so many."""
        wrong = [one for one in self.images if one.count]
        return sorted(wrong, key=lambda one: -one.count)[:count]


def find_errors(
    truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], conf: float = CONF
) -> Errors:
    """truth, results: as `coco_metrics` takes them. Difficult objects and crowds count nowhere."""
    categories = sorted(truth["categories"], key=lambda category: category["id"])
    label_of = {category["id"]: label for label, category in enumerate(categories)}
    number = {image["id"]: position for position, image in enumerate(truth["images"])}
    objects: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    found: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for annotation in truth["annotations"]:
        objects[number[annotation["image_id"]]].append(annotation)
    for result in results:
        if result["score"] >= conf:
            found[number[result["image_id"]]].append(result)
    matrix = np.zeros((len(categories) + 1, len(categories) + 1), np.int64)
    images = tuple(
        _image_errors(image, objects[image], found[image], label_of, matrix)
        for image in range(len(number))
    )
    return Errors(tuple(str(category["name"]) for category in categories), matrix, images)


def _image_errors(
    image: int,
    objects: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
    label_of: Mapping[Any, int],
    matrix: IntArray,
) -> ImageErrors:
    """What is wrong in one image; counts are added to the matrix."""
    errors, background = ImageErrors(image), len(label_of)
    boxes = corners_of(objects)
    labels = np.array([label_of[o["category_id"]] for o in objects], np.int64)
    ignored = np.array([bool(o.get("difficult") or o.get("iscrowd")) for o in objects], bool)
    free = np.ones(len(objects), bool)
    for result in sorted(results, key=lambda one: -one["score"]):
        (box,), label = corners_of([result]), label_of[result["category_id"]]
        place = _best(box, label, boxes, labels, free)
        if place is None:
            matrix[background, label] += 1
            errors.false.append((box.tolist(), label, float(result["score"])))
            continue
        if ignored[place]:
            continue
        free[place] = False
        matrix[labels[place], label] += 1
        if labels[place] != label:
            errors.confused.append((box.tolist(), label, int(labels[place])))
    for place in np.flatnonzero(free & ~ignored).tolist():
        matrix[labels[place], background] += 1
        errors.missed.append((boxes[place].tolist(), int(labels[place])))
    return errors


def _best(
    box: FloatArray, label: int, boxes: FloatArray, labels: IntArray, free: npt.NDArray[np.bool_]
) -> int | None:
    """The object that a detection takes, None where none is near enough."""
    if not len(boxes):
        return None
    overlap = np.where(free, ious(box, boxes, 0.0), 0.0)
    near = overlap >= LEAST_IOU
    own = near & (labels == label)
    candidates = own if own.any() else near
    return int(np.where(candidates, overlap, -1.0).argmax()) if candidates.any() else None
