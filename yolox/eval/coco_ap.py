"""COCO metrics of detections against a data set (Lin 2014; 101-point AP, IoU 0.50 to 0.95).

hotcoco is the engine: the numbers are pycocotools', many times faster. pycocotools is the
reference and the fall-back where hotcoco has no wheel.
"""

import contextlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from yolox.data.annotations import LARGEST_ID
from yolox.data.coco_classes import unique_names
from yolox.data.dataset import DetectionDataset
from yolox.errors import UsageError
from yolox.eval.predict import Detections
from yolox.ops.precision import to_float64

try:
    import hotcoco
except ImportError:  # no wheel for this platform
    hotcoco = None  # type: ignore[assignment]

ENGINES = ("hotcoco", "pycocotools")
AREAS = {"AP_small": 1, "AP_medium": 2, "AP_large": 3}
MOST_DETECTIONS = 2  # position of 100 among COCO's limits 1, 10, 100
IOU_50, IOU_75 = 0, 5  # positions among 0.50, 0.55, ... 0.95


@dataclass(frozen=True)
class ClassMetrics:
    """One class: AP, AP50 and recall as fractions (NaN without boxes), boxes and detections."""

    AP: float
    AP50: float
    AR100: float
    boxes: int
    detections: int


@dataclass(frozen=True)
class CocoMetrics:
    """Metrics as fractions; NaN where no box falls into a range of sizes."""

    AP: float
    AP50: float
    AP75: float
    AP_small: float
    AP_medium: float
    AP_large: float
    AR100: float
    per_class: dict[str, ClassMetrics]
    images: int


def ground_truth(dataset: DetectionDataset) -> dict[str, Any]:
    """What the engines need of an annotation file, in its own pixels.

    Boxes stand as they are written: COCO's own evaluation neither clips nor leaves out. Only
    annotations that belong to no image, no class or have no box are absent; the data set lists
    them among its problems. `difficult` is for the VOC protocol; COCO's looks at `iscrowd` only.
    """
    annotations = [
        {
            "id": number,
            "image_id": dataset.images[annotation.image].id,
            "category_id": dataset.category_ids[annotation.label],
            "bbox": list(annotation.box_xywh),
            "area": annotation.area,
            "iscrowd": int(annotation.crowd),
            "difficult": int(annotation.difficult),
        }
        for number, annotation in enumerate(dataset.annotations(), start=1)
    ]
    names = zip(dataset.category_ids, dataset.class_names, strict=True)
    return {
        "images": [{"id": r.id, "width": r.width, "height": r.height} for r in dataset.images],
        "annotations": annotations,
        "categories": [{"id": identifier, "name": name} for identifier, name in names],
    }


def to_coco(
    found: Mapping[int, Detections], image_ids: Sequence[Any], category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Detections by image number -> COCO result entries (bbox as x, y, width, height).

    image_ids: by image number; category_ids: by class index.
    """
    results = []
    for index in sorted(found):
        boxes_xyxy, scores, labels = found[index]
        boxes = to_float64(boxes_xyxy).numpy().copy()
        boxes[:, 2:] -= boxes[:, :2]
        for box, score, label in zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True):
            results.append(
                {
                    "image_id": image_ids[index],
                    "category_id": category_ids[label],
                    "bbox": box,
                    "score": score,
                }
            )
    return results


def coco_metrics(
    truth: dict[str, Any], results: list[dict[str, Any]], engine: str | None = None
) -> CocoMetrics:
    """Metrics of COCO result entries. engine: one of `ENGINES`, by default the first present."""
    precision, recall = _accumulated(truth, results, engine)
    overall = precision[:, :, :, 0, MOST_DETECTIONS]
    sizes = {key: _mean(precision[:, :, :, area, MOST_DETECTIONS]) for key, area in AREAS.items()}
    return CocoMetrics(
        AP=_mean(overall),
        AP50=_mean(overall[IOU_50]),
        AP75=_mean(overall[IOU_75]),
        **sizes,
        AR100=_mean(recall[:, :, 0, MOST_DETECTIONS]),
        per_class=_per_class(truth, results, overall, recall[:, :, 0, MOST_DETECTIONS]),
        images=len(truth["images"]),
    )


def silent_classes(metrics: CocoMetrics) -> list[str]:
    """Classes that have boxes but not one detection: a sign of wrong class ids."""
    return [n for n, c in metrics.per_class.items() if c.boxes and not c.detections]


def _accumulated(
    truth: dict[str, Any], results: list[dict[str, Any]], engine: str | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """precision [T, R, K, A, M] and recall [T, K, A, M] with -1 where undefined."""
    evaluation = coco_evaluation(truth, results, engine)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
    found: Any = evaluation.eval
    return np.asarray(found["precision"]), np.asarray(found["recall"])


def coco_evaluation(
    truth: dict[str, Any], results: list[dict[str, Any]], engine: str | None = None
) -> Any:
    """The engine's `COCOeval` of COCO result entries, for boxes, not yet run."""
    engine = engine or ("hotcoco" if hotcoco is not None else "pycocotools")
    if engine not in ENGINES:
        raise UsageError(f"evaluation engine {engine!r} is none of {', '.join(ENGINES)}")
    truth, results = _with_engine_ids(truth, results)
    if not results:  # the engines want one: a detection of nothing, which changes no number
        nothing = {"bbox": [0.0, 0.0, 1e-3, 1e-3], "score": 0.0}
        first = {"image_id": truth["images"][0]["id"], "category_id": truth["categories"][0]["id"]}
        results = [{**first, **nothing}]
    with contextlib.redirect_stdout(io.StringIO()):
        if engine == "hotcoco":
            known = hotcoco.COCO(truth)
            return hotcoco.COCOeval(known, known.loadRes(results), "bbox")
        return _pycocotools(truth, results)


def _with_engine_ids(
    truth: dict[str, Any], results: list[dict[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The same with ids of images and categories that the engines take: 0 to 2**63 - 1."""
    for entries, key in (("images", "image_id"), ("categories", "category_id")):
        ids = [entry["id"] for entry in truth[entries]]
        if all(isinstance(i, int) and 0 <= i < LARGEST_ID for i in ids):
            continue
        ordered = sorted(ids) if key == "category_id" else ids  # classes keep their order
        number = {identifier: position for position, identifier in enumerate(ordered, start=1)}
        truth = {
            **truth,
            entries: [{**entry, "id": number[entry["id"]]} for entry in truth[entries]],
            "annotations": [{**a, key: number[a[key]]} for a in truth["annotations"]],
        }
        results = [{**entry, key: number[entry[key]]} for entry in results]
    return truth, results


def _pycocotools(truth: dict[str, Any], results: list[dict[str, Any]]) -> Any:
    from pycocotools.coco import COCO  # noqa: PLC0415 - the fall-back is imported when it is used
    from pycocotools.cocoeval import COCOeval  # noqa: PLC0415

    known = COCO()
    known.dataset = {"info": {}, **truth}
    known.createIndex()
    return COCOeval(known, known.loadRes([dict(entry) for entry in results]), "bbox")


def _mean(values: npt.NDArray[np.float64]) -> float:
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else float("nan")


def _per_class(
    truth: dict[str, Any],
    results: list[dict[str, Any]],
    precision: npt.NDArray[np.float64],
    recall: npt.NDArray[np.float64],
) -> dict[str, ClassMetrics]:
    boxes = Counter(a["category_id"] for a in truth["annotations"] if not a["iscrowd"])
    detections = Counter(entry["category_id"] for entry in results)
    table = {}
    categories = sorted(truth["categories"], key=lambda category: category["id"])
    names = unique_names([category["name"] for category in categories])
    for position, (name, category) in enumerate(zip(names, categories, strict=True)):
        table[name] = ClassMetrics(
            AP=_mean(precision[:, :, position]),
            AP50=_mean(precision[IOU_50, :, position]),
            AR100=_mean(recall[:, position]),
            boxes=boxes[category["id"]],
            detections=detections[category["id"]],
        )
    return table
