"""Average precision as Pascal VOC defines it (Everingham 2010), beside COCO's.

What differs from COCO: a detection belongs to the box that it overlaps most, whether or not another
detection has that box already, so that a second one is false; difficult objects (and crowds) count
neither as found nor as missed, nor do detections that belong to them; there is no limit of
detections; and precision is averaged at 11 recalls (VOC 2007) or over all recalls (from 2010 on).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from yolox.data.coco_classes import unique_names
from yolox.defaults import SUBSETS
from yolox.eval.intervals import Estimate, ap_interval
from yolox.eval.matches import (
    THRESHOLDS,
    FloatArray,
    ImageMatches,
    Points,
    Ranked,
    assemble,
    at_threshold,
    class_ap,
)

IOUS = np.arange(50, 100, 5) / 100  # 0.50, 0.55, ... 0.95
HIGH = 0.75  # an AP from which intervals of 11 recalls deserve less trust
ROUNDING = 1e-9  # by which sums of fractions may miss a recall


def _eleven(recall: FloatArray) -> npt.NDArray:
    """How many of the recalls 0, 0.1, ... 1 are reached."""
    return np.floor(recall * 10 + ROUNDING) + 1


# Of the points at recall 0 one is reached by the first true positive, as with COCO's.
INTERPOLATIONS = {"11": Points(_eleven, 11.0), "all": Points(lambda recall: recall, 1.0)}


@dataclass(frozen=True)
class VocClass:
    """One class: AP over IoU 0.50 to 0.95 and AP50 as fractions, objects that are not difficult."""

    AP: float
    AP50: float
    boxes: int


@dataclass(frozen=True)
class VocMetrics:
    """Means over the classes that have objects, as fractions; NaN where none has.

    points: '11' or 'all', the recalls at which precision is averaged.
    """

    AP: float
    AP50: float
    points: str
    per_class: dict[str, VocClass]


def voc_metrics(matches: ImageMatches, points: str = "11") -> VocMetrics:
    """AP of `voc_matches`. points: one of `INTERPOLATIONS`."""
    everything = np.ones((1, matches.images))
    how = INTERPOLATIONS[points]
    ap = class_ap(matches, everything, how)[0]
    ap50 = class_ap(at_threshold(matches, 0), everything, how)[0] * THRESHOLDS
    counts = matches.boxes.sum(axis=0)
    per_class = {
        name: VocClass(float(one), float(half), int(count))
        for name, one, half, count in zip(matches.names, ap, ap50, counts, strict=True)
    }
    if not per_class:
        return VocMetrics(float("nan"), float("nan"), points, {})
    return VocMetrics(float(ap.mean()), float(ap50.mean()), points, per_class)


def voc_interval(matches: ImageMatches, points: str = "11", subsets: int = SUBSETS) -> Estimate:
    """The 95 % interval of AP over images: see `yolox.eval.intervals` for what it covers.

    That of 11 recalls is too high where AP is near 1: the last of them, recall 1, is reached by
    some small sets of images by chance. Above `HIGH` it carries a warning.
    """
    found = ap_interval(matches, subsets, points=INTERPOLATIONS[points])
    if points != "11" or not found.value > HIGH:
        return found
    parts = [found.warning, "with 11 recalls an interval near 1 lies too high"]
    return replace(found, warning="; ".join(part for part in parts if part))


def voc_matches(
    truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], pixel: float = 0.0
) -> ImageMatches:
    """Which detections are right, by VOC's rules.

    truth, results: as `coco_metrics` takes them; annotations may be `difficult` or `iscrowd`.
    pixel: added to widths and heights for IoU. The devkit adds 1, as its corners are pixels that
    belong to the box; boxes here are edges, so nothing is added.
    """
    found = class_detections(truth, results, pixel)
    images = len(truth["images"])
    counted = np.array([one.boxes for one in found]).reshape(len(found), images).T
    names = tuple(one.name for one in found)
    return assemble(names, np.ascontiguousarray(counted), [one.ranked for one in found])


class ClassDetections(NamedTuple):
    """Of one class: objects that count in each image [images], and detections by falling score."""

    name: str
    boxes: FloatArray
    ranked: Ranked
    scores: FloatArray


def class_detections(
    truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], pixel: float = 0.0
) -> list[ClassDetections]:
    """The classes that have objects, in the order of their ids. Arguments: see `voc_matches`."""
    number = {image["id"]: position for position, image in enumerate(truth["images"])}
    objects: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for annotation in truth["annotations"]:
        objects[annotation["category_id"]].append(annotation)
    detected: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for result in results:
        detected[result["category_id"]].append(result)
    categories = sorted(truth["categories"], key=lambda category: category["id"])
    names = unique_names([category["name"] for category in categories])
    found = []
    for name, category in zip(names, categories, strict=True):
        one = _Objects(objects[category["id"]], number, pixel)
        boxes = np.bincount(one.image[~one.ignored], minlength=len(number)).astype(float)
        if boxes.any():
            own = detected[category["id"]]
            scores = np.sort([result["score"] for result in own])[::-1].astype(float)
            found.append(ClassDetections(name, boxes, one.ranked(own, number), scores))
    return found


class _Objects:
    """The objects of one class."""

    def __init__(
        self, annotations: Sequence[Mapping[str, Any]], number: Mapping[Any, int], pixel: float
    ):
        self._pixel = pixel
        self._boxes = corners_of(annotations)
        self.image = np.array([number[a["image_id"]] for a in annotations], np.int64)
        self.ignored = np.array(
            [bool(a.get("difficult")) or bool(a.get("iscrowd")) for a in annotations], bool
        )
        self._of_image: dict[int, npt.NDArray] = {}
        for image in set(self.image.tolist()):
            self._of_image[image] = np.flatnonzero(self.image == image)

    def ranked(self, results: Sequence[Mapping[str, Any]], number: Mapping[Any, int]) -> Ranked:
        """Detections by falling score; equal ones in their order."""
        scores = np.array([result["score"] for result in results], float)
        order = np.argsort(-scores, kind="stable")
        boxes = corners_of(results)[order]
        image = np.array([number[result["image_id"]] for result in results], np.int64)[order]
        best, overlap = np.full(len(order), -1), np.zeros(len(order))
        for rank, (box, where) in enumerate(zip(boxes, image.tolist(), strict=True)):
            candidates = self._of_image.get(where)
            if candidates is not None:
                overlaps = ious(box, self._boxes[candidates], self._pixel)
                best[rank], overlap[rank] = candidates[overlaps.argmax()], overlaps.max()
        hit = np.zeros((THRESHOLDS, len(order)), bool)
        ignored = np.zeros_like(hit)
        for threshold, least in enumerate(IOUS):
            enough = np.flatnonzero((best >= 0) & (overlap >= least))
            on_ignored = self.ignored[best[enough]]
            ignored[threshold, enough[on_ignored]] = True
            others = enough[~on_ignored]
            _, first = np.unique(best[others], return_index=True)
            hit[threshold, others[first]] = True
        return Ranked(image, hit, ignored)


def corners_of(entries: Sequence[Mapping[str, Any]]) -> FloatArray:
    """x1, y1, x2, y2 of COCO boxes: [N, 4]."""
    boxes = np.array([entry["bbox"] for entry in entries], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def ious(box: FloatArray, others: FloatArray, pixel: float) -> FloatArray:
    """Intersection over union of a box [4] with others [N, 4]; 0 where both have no area."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    inside = np.clip(high - low + pixel, 0, None).prod(axis=1)
    own = (box[2:] - box[:2] + pixel).prod()
    union = own + (others[:, 2:] - others[:, :2] + pixel).prod(axis=1) - inside
    found: FloatArray = np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)
    return found
