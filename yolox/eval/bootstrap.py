"""How sure an AP is: its spread over the images that happened to be in the set."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from yolox.eval.coco_ap import coco_metrics

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """Of AP, as fractions."""

    low: float
    high: float


def ap_interval(
    truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], resamples: int, seed: int = 0
) -> Interval:
    """The 95 % percentile interval of AP over bootstrap samples of the images (Efron 1979).

    truth, results: as `coco_metrics` takes them. It is the spread that other images of the same
    kind would give, not that of other training runs.
    """
    boxes, found = _by_image(truth["annotations"]), _by_image(results)
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        drawn = rng.integers(0, len(truth["images"]), len(truth["images"]))
        images, annotations, entries = [], [], []
        for number, index in enumerate(drawn.tolist(), start=1):
            image = truth["images"][index]
            images.append({**image, "id": number})
            annotations += [{**box, "image_id": number} for box in boxes[image["id"]]]
            entries += [{**entry, "image_id": number} for entry in found[image["id"]]]
        for number, box in enumerate(annotations, start=1):
            box["id"] = number
        sample = {**truth, "images": images, "annotations": annotations}
        values.append(coco_metrics(sample, entries).AP)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail]).tolist()
    return Interval(low, high)


def _by_image(entries: Sequence[Mapping[str, Any]]) -> Mapping[Any, list[Mapping[str, Any]]]:
    grouped: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in entries:
        grouped[entry["image_id"]].append(entry)
    return grouped
