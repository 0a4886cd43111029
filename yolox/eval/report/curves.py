"""Precision, recall and F1 of each class against the confidence that detections must have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolox.eval.matches import FloatArray
from yolox.eval.voc_ap import class_detections

CONFIDENCES = np.linspace(0.0, 1.0, 201)


@dataclass(frozen=True)
class ScoreCurves:
    """Of one class at IoU 0.5, VOC's matching: [201] values at confidences from 0 to 1.

    precision is 1 where nothing is detected. boxes: objects that count.
    """

    precision: FloatArray
    recall: FloatArray
    boxes: int

    @property
    def f1(self) -> FloatArray:
        """Harmonic mean of the two, 0 where both are."""
        total = self.precision + self.recall
        product = 2 * self.precision * self.recall
        found: FloatArray = np.divide(product, total, out=np.zeros_like(total), where=total > 0)
        return found


def score_curves(
    truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]]
) -> dict[str, ScoreCurves]:
    """Curves of the classes that have objects, by name."""
    curves = {}
    for found in class_detections(truth, results):
        hit, counted = found.ranked.hit[0], ~found.ranked.ignored[0]
        order = np.searchsorted(-found.scores, -CONFIDENCES, side="right")
        right = np.concatenate([[0], np.cumsum(hit & counted)])[order]
        seen = np.concatenate([[0], np.cumsum(counted)])[order]
        precision = np.divide(right, seen, out=np.ones(len(order)), where=seen > 0)
        total = int(found.boxes.sum())
        curves[found.name] = ScoreCurves(precision, right / total, total)
    return curves


def best_confidence(curves: Mapping[str, ScoreCurves]) -> tuple[float, float]:
    """The confidence at which the mean F1 over classes is highest, and that F1."""
    mean = np.mean([curve.f1 for curve in curves.values()], axis=0)
    place = int(mean.argmax())
    return float(CONFIDENCES[place]), float(mean[place])
