"""Detections matched to boxes once, and AP of any weights on the images, computed from that."""

import contextlib
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from yolox.eval.coco_ap import coco_evaluation

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

RECALLS = np.linspace(0, 1, 101)  # COCO's points, as its evaluator computes them
THRESHOLDS = 10  # IoU 0.50, 0.55, ... 0.95
MOST_DETECTIONS = 100  # per image and class, as in COCO's AP
MOST_THREADS = 8  # each holds some arrays as long as all detections
BLOCK = 200_000  # numbers per array and block of weight vectors: they stay in the cache


class Points(NamedTuple):
    """How AP counts recall: what is reached of it, and how much there is; AP is the mean of the
    precision over it.
    """

    reached: Callable[[FloatArray], npt.NDArray]
    all: float


class Curves(NamedTuple):
    """Detections that belong to a curve: one curve per class and IoU threshold.

    detection: [N] positions among the detections; curve: [N] class * THRESHOLDS + threshold,
    ascending, by falling score within a curve.
    """

    detection: IntArray
    curve: IntArray


@dataclass(frozen=True)
class ImageMatches:
    """Which detections are right, image by image. Classes without a box are left out.

    names: [K] names of the classes.
    boxes: [images, K] boxes that count (no crowds).
    image: [D] image number of each detection, class by class, by falling score.
    first: [K] position of a class's first detection.
    hits: true positives; ignored: detections on crowds, which count neither as right nor as wrong.
    """

    names: tuple[str, ...]
    boxes: FloatArray
    image: IntArray
    first: IntArray
    hits: Curves
    ignored: Curves

    @property
    def images(self) -> int:
        """Number of images, those without boxes and detections included."""
        return len(self.boxes)


def match(
    truth: dict[str, Any], results: list[dict[str, Any]], engine: str | None = None
) -> ImageMatches:
    """Match detections as COCO does: IoU 0.50 to 0.95, boxes of all sizes, 100 detections each.

    truth, results, engine: as `coco_metrics` takes them.
    """
    evaluation = coco_evaluation(truth, results, engine)
    evaluation.params.areaRng = [evaluation.params.areaRng[0]]
    evaluation.params.areaRngLbl = ["all"]
    evaluation.params.maxDets = [MOST_DETECTIONS]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
    number = {key: position for position, key in enumerate(sorted(evaluation.params.imgIds))}
    by_class: dict[int, list[tuple[int, Any]]] = {}
    for entry in evaluation.evalImgs:
        if entry is not None:
            image = number[entry["image_id"]]
            by_class.setdefault(entry["category_id"], []).append((image, entry))
    names, columns, parts = [], [], []
    ordered = sorted(truth["categories"], key=lambda category: int(category["id"]))
    # The engine may have ids of its own, in the same order.
    for category, key in zip(ordered, sorted(evaluation.params.catIds), strict=True):
        entries = sorted(by_class.get(key, []), key=lambda pair: pair[0])
        boxes = np.zeros(len(number))
        for image, entry in entries:
            boxes[image] = np.count_nonzero(~np.asarray(entry["gtIgnore"], bool))
        if boxes.any():
            names.append(str(category["name"]))
            columns.append(boxes)
            parts.append(_ranked(entries))
    counted = np.array(columns).reshape(len(names), len(number)).T
    return assemble(tuple(names), np.ascontiguousarray(counted), parts)


class Ranked(NamedTuple):
    """Detections of one class by falling score: image [D], hit and ignored [THRESHOLDS, D]."""

    image: IntArray
    hit: npt.NDArray[np.bool_]
    ignored: npt.NDArray[np.bool_]


def _ranked(entries: Sequence[tuple[int, Any]]) -> Ranked:
    scores = np.concatenate([np.asarray(entry["dtScores"], float) for _, entry in entries])
    image = np.repeat([image for image, _ in entries], [len(e["dtScores"]) for _, e in entries])
    matched, ignored = (
        np.hstack([np.asarray(e[key], float).reshape(THRESHOLDS, -1) for _, e in entries]) > 0
        for key in ("dtMatches", "dtIgnore")
    )
    order = np.argsort(-scores, kind="mergesort")  # COCO's, so that ties fall alike
    return Ranked(image[order], (matched & ~ignored)[:, order], ignored[:, order])


def assemble(names: tuple[str, ...], boxes: FloatArray, parts: Sequence[Ranked]) -> ImageMatches:
    """Join the classes. What stands behind a class's last hit changes no AP and is dropped."""
    kept = []
    for part in parts:
        ranks = np.flatnonzero(part.hit.any(axis=0))
        end = int(ranks[-1]) + 1 if ranks.size else 0
        kept.append(Ranked(part.image[:end], part.hit[:, :end], part.ignored[:, :end]))
    sizes = np.array([len(part.image) for part in kept], np.int64)
    first = np.cumsum(sizes) - sizes
    return ImageMatches(
        names,
        boxes,
        np.concatenate([part.image for part in kept]) if kept else np.zeros(0, np.int64),
        first,
        _curves([part.hit for part in kept], first),
        _curves([part.ignored for part in kept], first),
    )


def _curves(flags: Sequence[npt.NDArray[np.bool_]], first: IntArray) -> Curves:
    detections, curves = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for position, flag in enumerate(flags):
        threshold, rank = np.nonzero(flag)
        detections.append(first[position] + rank)
        curves.append(position * THRESHOLDS + threshold)
    return Curves(np.concatenate(detections), np.concatenate(curves))


def class_ap(
    matches: ImageMatches, weights: npt.NDArray, points: Points | None = None
) -> FloatArray:
    """AP of each class where image i counts weights[:, i] times.

    weights: [R, images], not negative, of any number type. points: how recall is counted; COCO's
    101 points by default.
    Returns [R, K], NaN where no box of a class has weight.
    """
    longest = max(len(matches.image), len(matches.hits.curve), matches.images, 1)
    rows = max(BLOCK // longest, 1)

    def block(start: int) -> FloatArray:
        part = weights[start : start + rows].astype(float)
        return _block_ap(matches, part, points or COCO_POINTS)

    # NumPy's loops let other threads run.
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as pool:
        blocks = list(pool.map(block, range(0, len(weights), rows)))
    return np.concatenate(blocks) if blocks else np.zeros((0, len(matches.names)))


def _block_ap(matches: ImageMatches, weights: FloatArray, points: Points) -> FloatArray:
    boxes = weights @ matches.boxes
    right = _running(weights[:, matches.image[matches.hits.detection]], matches.hits.curve)
    seen = _counted(matches, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(seen > 0, right / seen, 0.0)
        recall = np.nan_to_num(right / boxes[:, matches.hits.curve // THRESHOLDS])
    reached = points.reached(recall)
    before = np.zeros_like(reached)
    before[:, 1:] = reached[:, :-1]
    starts = _starts(matches.hits.curve)
    before[:, starts] = 0
    share = _envelope(precision, matches.hits.curve) * (reached - before)
    found = np.zeros((len(weights), len(matches.names)))
    if starts.size:
        classes = matches.hits.curve // THRESHOLDS
        first = _starts(classes)
        found[:, classes[first]] = np.add.reduceat(share, first, axis=1)
    found /= points.all * THRESHOLDS
    return np.where(boxes > 0, found, np.nan)


def at_threshold(matches: ImageMatches, number: int) -> ImageMatches:
    """The same at one IoU threshold alone, whose AP `class_ap` then gives as a tenth."""
    one = [
        Curves(*(values[curves.curve % THRESHOLDS == number] for values in curves))
        for curves in (matches.hits, matches.ignored)
    ]
    return replace(matches, hits=one[0], ignored=one[1])


def _starts(groups: IntArray) -> IntArray:
    """Positions at which a new group begins."""
    return np.flatnonzero(np.diff(groups, prepend=-1))


def _running(values: FloatArray, groups: IntArray) -> FloatArray:
    """Cumulative sums along axis 1 that begin anew with each group."""
    sums = np.cumsum(values, axis=1)
    starts = _starts(groups)
    if starts.size:
        before = np.zeros((len(values), starts.size))
        before[:, 1:] = sums[:, starts[1:] - 1]
        sums -= np.repeat(before, np.diff(np.append(starts, groups.size)), axis=1)
    return sums


def _counted(matches: ImageMatches, weights: FloatArray) -> FloatArray:
    """Weight of the detections down to each hit, itself included, without the ignored ones."""
    sums = np.zeros((len(weights), len(matches.image) + 1))
    np.cumsum(weights[:, matches.image], axis=1, out=sums[:, 1:])
    classes = matches.hits.curve // THRESHOLDS
    seen = sums[:, matches.hits.detection + 1] - sums[:, matches.first[classes]]
    if matches.ignored.curve.size:
        sums = np.zeros((len(weights), matches.ignored.curve.size + 1))
        sums[:, 1:] = np.cumsum(weights[:, matches.image[matches.ignored.detection]], axis=1)
        size = len(matches.image) + 1
        order = matches.ignored.curve * size + matches.ignored.detection
        end = np.searchsorted(order, matches.hits.curve * size + matches.hits.detection)
        start = np.searchsorted(matches.ignored.curve, matches.hits.curve)
        seen -= sums[:, end] - sums[:, start]
    return seen


def _envelope(precision: FloatArray, curve: IntArray) -> FloatArray:
    """The largest precision at this or a higher recall of the same curve."""
    lift = 2.0 * (curve[-1] - curve) if curve.size else 0.0  # earlier curves stay above later ones
    raised = (precision + lift)[:, ::-1]
    np.maximum.accumulate(raised, axis=1, out=raised)
    return raised[:, ::-1] - lift


def _coco_points(recall: FloatArray) -> IntArray:
    """How many of the 101 recall points are reached, the one at 0 included."""
    recall = np.where(recall > 1 - 1e-9, 1.0, recall)  # sums of fractions miss 1 by rounding
    below = np.floor(recall * 100 + 1e-6).astype(np.int64)
    reached: IntArray = below + (RECALLS[below] <= recall)
    return reached


COCO_POINTS = Points(_coco_points, len(RECALLS))
