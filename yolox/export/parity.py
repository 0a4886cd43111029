"""The gate at the end of an export: does the file compute what the model computes?"""

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

COMPARED = 100  # points per image, those with the best scores
SAME_BOX = 0.95  # IoU from which two detections are the same
VISIBLE = 0.05  # score from which a detection must be found again


@dataclass(frozen=True)
class Tolerance:
    """Largest differences: of scores, of boxes as 1 - IoU, and of AP.

    lost: share of the detections that may have no counterpart, where the graph has NMS.
    """

    score: float
    box: float
    ap: float
    lost: float


# fp32 differs by the order of sums only; fp16 has a resolution of 0.001 near 1.
TOLERANCES = {
    "fp32": Tolerance(score=1e-3, box=1e-3, ap=1e-3, lost=0.0),
    "fp16": Tolerance(score=0.03, box=0.1, ap=5e-3, lost=0.02),
}


@dataclass(frozen=True)
class Parity:
    """What a comparison on images found; the same quantities as `Tolerance`."""

    images: int
    score: float
    box: float
    lost: float

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def compare(reference: Backend, exported: Backend, images: Tensor, nms: EvalSpec) -> Parity:
    """Run both on images [n, 3, H, W] uint8. nms: the thresholds of a graph with suppression.

    Raises ExportError where the exported model gives values that are not finite.
    """
    scores, boxes, lost, count = 0.0, 0.0, 0, 0
    for image in images:
        decoded, found = reference(image[None]).cpu(), exported(image[None]).cpu()
        if not bool(torch.isfinite(found).all()):
            raise ExportError("the exported model gives values that are not finite")
        if exported.info.output == "detections":
            rows = postprocess(decoded, nms)[0], detect(found, exported, nms)[0]
            pairs, missing, number = _matched(*rows)
            lost, count = lost + missing, count + number
        else:
            pairs = _best_points(decoded[0], found[0])
        score, box = _differences(*pairs)
        scores, boxes = max(scores, score), max(boxes, box)
    return Parity(len(images), scores, boxes, lost / max(count, 1))


def require_parity(found: Parity, allowed: Tolerance) -> None:
    """Raises ExportError naming what differs by more than is allowed."""
    for key in ("score", "box", "lost"):
        value, limit = getattr(found, key), getattr(allowed, key)
        if not value <= limit:
            name = {"score": "scores differ by", "box": "boxes differ by 1 - IoU =",
                    "lost": "share of detections lost:"}[key]  # fmt: skip
            raise ExportError(f"parity gate: {name} {value:.5f}, {limit} is allowed")


def require_ap(ap_source: float, ap_exported: float, allowed: float) -> None:
    """Raises ExportError where the exported model's AP is further away than allowed."""
    if not abs(ap_source - ap_exported) <= allowed:
        raise ExportError(
            f"parity gate: AP {ap_exported:.4f} against {ap_source:.4f} of the source model, "
            f"a difference of {allowed} is allowed"
        )


def _best_points(reference: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (cx, cy, w, h, score) of the reference's best points, in both. Inputs: [A, 5 + C]."""
    rows = [
        torch.cat([d[:, :4], d[:, 4:5] * d[:, 5:].amax(dim=1, keepdim=True)], dim=1)
        for d in (reference, found)
    ]
    best = rows[0][:, 4].topk(min(COMPARED, len(rows[0]))).indices
    return rows[0][best], rows[1][best]


def _matched(reference: Tensor, found: Tensor) -> tuple[tuple[Tensor, Tensor], int, int]:
    """Visible detections with their counterparts; how many have none, and of how many."""
    rows = [
        torch.cat([xyxy_to_cxcywh(r[:, :4]), r[:, 4:5] * r[:, 5:6], r[:, 6:7]], dim=1)
        for r in (reference, found)
    ]
    visible = rows[0][rows[0][:, 4] >= VISIBLE]
    if not len(visible) or not len(rows[1]):
        return (visible[:0], visible[:0]), len(visible), len(visible)
    overlap = iou_cxcywh(visible[:, None, :4], rows[1][None, :, :4])
    overlap = overlap * (visible[:, None, 5] == rows[1][None, :, 5])
    best, partner = overlap.max(dim=1)
    same = best >= SAME_BOX
    pairs = visible[same], rows[1][partner[same]]
    return pairs, int((~same).sum()), len(visible)


def _differences(reference: Tensor, found: Tensor) -> tuple[float, float]:
    """Largest difference of scores, and of boxes as 1 - IoU."""
    if not len(reference):
        return 0.0, 0.0
    overlap = iou_cxcywh(reference[:, :4].double(), found[:, :4].double())
    score = (reference[:, 4] - found[:, 4]).abs().max()
    return float(score), float((1 - overlap).clamp(min=0).max())
