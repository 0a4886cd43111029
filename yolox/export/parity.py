"""The gate at the end of an export: does the file compute what the model computes?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from yolox.backends import Backend
from yolox.config import EvalSpec
from yolox.errors import ExportError
from yolox.eval.predict import detect
from yolox.ops.boxes import iou_cxcywh, xyxy_to_cxcywh
from yolox.ops.nms import postprocess
from yolox.ops.precision import to_float64

COMPARED = 100  # points per image and model, those with the best scores
BATCH = 4  # of models that take any
SAME_BOX = 0.95  # IoU from which two detections are the same
VISIBLE = 0.01  # score from which a detection must be found again,
MARGIN = 0.005  # and above the threshold, at which the last digit decides


@dataclass(frozen=True)
class Tolerance:
    """Largest differences: of scores, of boxes as 1 - IoU, and of AP.

    lost: share of the detections of either that may have no counterpart, where the graph has NMS.
    """

    score: float
    box: float
    ap: float
    lost: float


# fp32 differs by the order of sums only; fp16 has a resolution of 0.001 near 1.
TOLERANCES = {
    "fp32": Tolerance(score=1e-3, box=1e-3, ap=1e-3, lost=0.002),
    "fp16": Tolerance(score=0.03, box=0.1, ap=5e-3, lost=0.02),
}


NAMES = {
    "score": "scores differ by",
    "box": "boxes differ by 1 - IoU =",
    "lost": "share of detections without a counterpart:",
}


@dataclass(frozen=True)
class Parity:
    """What a comparison found; the same quantities as `Tolerance`.

    compared: points, or detections where the graph has NMS.
    """

    images: int
    score: float
    box: float
    lost: float
    compared: int

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def compare(reference: Backend, exported: Backend, images: Tensor, nms: EvalSpec) -> Parity:
    """Run both on images [n, 3, H, W] uint8. nms: the thresholds of a graph with suppression.

    Images go in batches of the model's size, so that one of them in another's place is noticed.
    Raises ExportError where the exported model gives values that are not finite.
    """
    scores, boxes, lost, count = 0.0, 0.0, 0, 0
    for batch in torch.split(images, exported.info.batch or BATCH):
        decoded, found = reference(batch).cpu(), exported(batch).cpu()
        if not bool(torch.isfinite(found).all()):
            raise ExportError("the exported model gives values that are not finite")
        if exported.info.output == "detections":
            rows = list(zip(postprocess(decoded, nms), detect(found, exported, nms), strict=True))
            floor = max(VISIBLE, nms.conf + MARGIN)
            most = nms.max_detections
            results = [_compare_detections(*pair, floor, most) for pair in rows]
        else:
            results = [_compare_points(*pair) for pair in zip(decoded, found, strict=True)]
        for score, box, missing, number in results:
            scores, boxes = max(scores, score), max(boxes, box)
            lost, count = lost + missing, count + number
    return Parity(len(images), scores, boxes, lost / max(count, 1), count)


def require_parity(found: Parity, allowed: Tolerance) -> None:
    """Raises ExportError naming what differs by more than is allowed, or that nothing was seen."""
    for key, name in NAMES.items():
        value, limit = getattr(found, key), getattr(allowed, key)
        if not value <= limit:
            raise ExportError(f"parity gate: {name} {value:.5f}, {limit} is allowed")
    if not found.compared:
        raise ExportError(
            "parity gate: neither model detects anything on the images compared: lower --conf, or "
            "name other images with --images"
        )


def require_ap(ap_source: float, ap_exported: float, allowed: float) -> None:
    """Raises ExportError where the exported model's AP is further away than allowed."""
    if not abs(ap_source - ap_exported) <= allowed:
        raise ExportError(
            f"parity gate: AP {ap_exported:.4f} against {ap_source:.4f} of the source model, "
            f"a difference of {allowed} is allowed"
        )


def _compare_points(reference: Tensor, found: Tensor) -> tuple[float, float, int, int]:
    """Largest differences at the best points of either, [A, 5 + C]; none is lost; how many."""
    tables = [decoded[:, 4:5] * decoded[:, 5:] for decoded in (reference, found)]
    if all(map(_is_ranked, tables)):
        return _compare_ranked(reference, found, tables)
    most = min(COMPARED, len(reference))
    best = torch.unique(torch.cat([t.amax(dim=1).topk(most).indices for t in tables]))
    score = (tables[0][best] - tables[1][best]).abs().max()
    return float(score), _box_difference(reference[best, :4], found[best, :4]), 0, len(best)


def _is_ranked(scores: Tensor) -> bool:
    """Whether the points [A, C] come best first: a decoder has chosen them."""
    best = scores.amax(dim=1)
    return bool((best[1:] <= best[:-1]).all())


def _compare_ranked(
    reference: Tensor, found: Tensor, tables: Sequence[Tensor]
) -> tuple[float, float, int, int]:
    """Largest differences of points that come best first, and of their nearest in the other table.

    The last digit decides in which order points of nearly equal scores come, and which of them
    are the last: those that are hardly better than the other table's last need not be found again.
    """
    score, box, lost, count = 0.0, 0.0, 0, 0
    sides = ((reference, tables[0]), (found, tables[1]))
    for (mine, own), (others, theirs) in (sides, sides[::-1]):
        best = own[:COMPARED].amax(dim=1)
        visible = best >= VISIBLE
        points, scores = mine[:COMPARED][visible], own[:COMPARED][visible]
        count += len(points)
        if not len(points):
            continue
        apart = (scores[:, None] - theirs).abs().amax(dim=-1)
        overlap = iou_cxcywh(_seen(points)[:, None], _seen(others)[None])
        partner = (overlap - apart).argmax(dim=1)
        rows = torch.arange(len(points))
        same = overlap[rows, partner] >= SAME_BOX
        lost += int((~same & (best[visible] >= theirs[-1].amax() + MARGIN)).sum())
        if bool(same.any()):
            score = max(score, float(apart[rows, partner][same].max()))
            pairs = points[same, :4], others[partner[same], :4]
            box = max(box, _box_difference(*pairs))
    return score, box, lost, count


def _compare_detections(
    reference: Tensor, found: Tensor, floor: float, most: int
) -> tuple[float, float, int, int]:
    """Largest differences of detections that are in both; how many are not; how many there are.

    Rows [n, 7] of `postprocess`. Only those of a score from `floor` must have a counterpart; where
    there are as many as may be, `most`, only those clearly better than the other's last one.
    """
    rows = [
        torch.cat([xyxy_to_cxcywh(r[:, :4]), r[:, 4:5] * r[:, 5:6], r[:, 6:7]], dim=1)
        for r in (reference, found)
    ]
    score, box, lost, count = 0.0, 0.0, 0, 0
    for mine, others in (rows, rows[::-1]):
        full = 0 < most <= len(others)
        least = max(floor, float(others[:, 4].min()) + MARGIN) if full else floor
        visible = mine[mine[:, 4] >= floor]
        must = visible[:, 4] >= least
        count += len(visible)
        if not len(visible) or not len(others):
            lost += len(visible)
            continue
        overlap = iou_cxcywh(visible[:, None, :4], others[None, :, :4])
        best, partner = (overlap * (visible[:, None, 5] == others[None, :, 5])).max(dim=1)
        same = best >= SAME_BOX
        lost += int((~same & must).sum())
        one, other = visible[same], others[partner[same]]
        if len(one):
            score = max(score, float((one[:, 4] - other[:, 4]).abs().max()))
            box = max(box, _box_difference(one[:, :4], other[:, :4]))
    return score, box, lost, count


def _box_difference(first_cxcywh: Tensor, second_cxcywh: Tensor) -> float:
    """Largest 1 - IoU of boxes [n, 4] taken in pairs."""
    overlap = iou_cxcywh(*(_seen(to_float64(boxes)) for boxes in (first_cxcywh, second_cxcywh)))
    return float((1 - overlap).clamp(min=0).max())


def _seen(boxes_cxcywh: Tensor) -> Tensor:
    """Boxes [n, 4 ...] with sides of a pixel at least: smaller differences are no matter."""
    return torch.cat([boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:4].clamp(min=1.0)], dim=1)
