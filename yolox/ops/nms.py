"""From decoded predictions to detections: thresholds, non-maximum suppression, filters."""

import torch
from torch import Tensor

from yolox.config import EvalSpec
from yolox.ops.boxes import cxcywh_to_xyxy
from yolox.ops.suppress import suppressed, suppressed_by_class

SOFT_NMS_SIGMA = 0.5  # Bodla 2017, Gaussian weighting


def postprocess(decoded: Tensor, spec: EvalSpec) -> list[Tensor]:
    """Detections of each image, best first.

    decoded: [B, A, 5 + C] cx, cy, w, h in pixels, objectness, class probabilities.
    Returns one [n, 7] tensor per image: x1, y1, x2, y2, objectness, class probability, class. The
    score of a detection is objectness times class probability.
    """
    return [_one_image(image, spec) for image in decoded]


def from_graph(detections: Tensor, spec: EvalSpec) -> list[Tensor]:
    """Rows as `postprocess` gives them, from a model that has the suppression in its graph.

    detections: [B, K, 6] x1, y1, x2, y2, score, class (-1 after the last one). Of `spec` only
    `conf` counts: the graph has thresholds of its own.
    """
    found = []
    for image in detections:
        kept = image[(image[:, 5] >= 0) & (image[:, 4] >= spec.conf)]
        rows = torch.ones(len(kept), 7, dtype=kept.dtype)
        rows[:, :5], rows[:, 6] = kept[:, :5], kept[:, 5]
        found.append(rows)
    return found


def _one_image(decoded: Tensor, spec: EvalSpec) -> Tensor:
    # A score is at most the objectness: most points are done with here.
    decoded = decoded[decoded[:, 4] >= spec.conf]
    rows = _every_class(decoded, spec.conf) if spec.multi_class else _best_class(decoded)
    scores = rows[:, 4] * rows[:, 5]
    keep = scores >= spec.conf
    keep &= _clear_enough(decoded, rows, spec)
    rows, scores = rows[keep, :7], scores[keep]
    if spec.max_candidates and len(rows) > spec.max_candidates:
        best = scores.topk(spec.max_candidates).indices
        rows, scores = rows[best], scores[best]
    suppress = _soft_nms if spec.soft_nms else _hard_nms
    rows = suppress(rows, scores, spec)
    return rows[: spec.max_detections] if spec.max_detections else rows


def _best_class(decoded: Tensor) -> Tensor:
    """[n, 8]: box, objectness, best class's probability, class, row of `decoded`."""
    probability, label = decoded[:, 5:].max(dim=1)
    row = torch.arange(len(decoded), device=decoded.device)
    return _rows(decoded, row, label, probability)


def _every_class(decoded: Tensor, conf: float) -> Tensor:
    """[n, 8] as `_best_class`, with a row for every class whose score reaches the threshold."""
    scores = decoded[:, 5:] * decoded[:, 4:5]
    row, label = (scores >= conf).nonzero(as_tuple=True)
    return _rows(decoded, row, label, decoded[row, 5 + label])


def _rows(decoded: Tensor, row: Tensor, label: Tensor, probability: Tensor) -> Tensor:
    columns = [decoded[row, 4], probability, label.to(decoded.dtype), row.to(decoded.dtype)]
    return torch.cat([cxcywh_to_xyxy(decoded[row, :4]), torch.stack(columns, dim=1)], dim=1)


def _clear_enough(decoded: Tensor, rows: Tensor, spec: EvalSpec) -> Tensor:
    """The second-class filter: which rows name a class that stands out.

    Kept are rows whose point has best / second-best class >= min_class_ratio, and
    objectness^2 / best class >= min_objectness_ratio. Zero switches a test off.
    """
    keep = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    if not len(rows) or not (spec.min_class_ratio or spec.min_objectness_ratio):
        return keep
    point = rows[:, 7].long()
    classes = decoded.shape[1] - 5
    best = decoded[:, 5:].topk(min(2, classes), dim=1).values[point]
    if spec.min_class_ratio and classes > 1:
        keep &= best[:, 0] >= spec.min_class_ratio * best[:, 1]
    if spec.min_objectness_ratio:
        keep &= rows[:, 4] ** 2 >= spec.min_objectness_ratio * best[:, 0]
    return keep


def _hard_nms(rows: Tensor, scores: Tensor, spec: EvalSpec) -> Tensor:
    if spec.class_agnostic:
        return rows[suppressed(rows[:, :4], scores, spec.nms)]
    return rows[suppressed_by_class(rows[:, :4], scores, rows[:, 6], spec.nms)]


def _soft_nms(rows: Tensor, scores: Tensor, spec: EvalSpec) -> Tensor:
    """Gaussian soft-NMS (Bodla 2017): overlap lowers a score instead of removing the box.

    The lowered score is written into the objectness, so that it stays the product of both columns.
    """
    rows, scores = rows.clone(), scores.clone()
    labels = torch.zeros_like(rows[:, 6]) if spec.class_agnostic else rows[:, 6]
    kept: list[Tensor] = []
    while len(rows):
        best = scores.argmax()
        row = rows[best].clone()
        row[4] = scores[best] / row[5]
        kept.append(row)
        overlap = _iou_with(rows[:, :4], rows[best, :4]) * (labels == labels[best])
        scores = scores * torch.exp(-(overlap**2) / SOFT_NMS_SIGMA)
        scores[best] = 0.0
        alive = scores >= max(spec.conf, 1e-9)
        rows, scores, labels = rows[alive], scores[alive], labels[alive]
    return torch.stack(kept) if kept else rows


def _iou_with(boxes_xyxy: Tensor, box_xyxy: Tensor) -> Tensor:
    low = torch.maximum(boxes_xyxy[:, :2], box_xyxy[:2])
    high = torch.minimum(boxes_xyxy[:, 2:], box_xyxy[2:])
    overlap = (high - low).clamp(min=0).prod(dim=1)
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(dim=1)
    own = (box_xyxy[2:] - box_xyxy[:2]).prod()
    return overlap / (areas + own - overlap).clamp(min=1e-16)
