"""The loss of an EfficientDet, and the distance between the predictions of two of them."""

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from yolox.families.base import CountMean, unchanged
from yolox.families.efficientdet.anchors import anchors, encode
from yolox.families.efficientdet.network import Raw
from yolox.losses.divergence import divergence
from yolox.ops.boxes import cxcywh_to_xyxy

ALPHA, GAMMA = 0.25, 1.5  # of the focal loss: of positives, of hard ones
DELTA = 0.1  # where the Huber loss becomes linear
BOX_WEIGHT = 50.0
MATCHED = 0.5  # IoU of an anchor with the object that it predicts


class Matches(NamedTuple):
    """anchor [F]: those of an image that predict an object; object [F]: its row."""

    anchor: Tensor
    object: Tensor


@lru_cache(maxsize=16)
def corners(sizes: tuple[tuple[int, int], ...], scale: float, device: torch.device) -> Tensor:
    """The anchors as x0, y0, x1, y1, [A, 4], each rounded once."""
    exact = anchors(sizes, scale, torch.empty(0, dtype=torch.float64))
    return cxcywh_to_xyxy(exact).float().to(device)


def match(fixed: Tensor, boxes: Tensor) -> Matches:
    """An anchor takes the object that it overlaps most, by IoU 0.5; each object its best anchor.

    fixed: [A, 4], boxes: [N, 4], both x0, y0, x1, y1. An anchor that is the best of several objects
    takes the first. All anchors of one size that contain an object overlap it equally: which of
    them is the best depends on rounding, so that areas are computed as in the reference.
    """
    low = torch.maximum(boxes[:, None, :2], fixed[:, :2])
    high = torch.minimum(boxes[:, None, 2:], fixed[:, 2:])
    common = (high - low).clamp(min=0).prod(-1)
    areas = [(part[:, 2:] - part[:, :2]).prod(-1) for part in (boxes, fixed)]
    iou = common / (areas[0][:, None] + areas[1] - common)
    overlap, owner = iou.max(0)
    owner = torch.where(overlap >= MATCHED, owner, -1)
    count = len(boxes)
    rows = torch.arange(count, device=boxes.device)
    forced = torch.full_like(owner, count).scatter_reduce(0, iou.argmax(1), rows, "amin")
    owner = torch.where(forced < count, forced, owner)
    anchor = (owner >= 0).nonzero()[:, 0]
    return Matches(anchor, owner[anchor])


class EfficientDetLoss:
    """Focal loss of classes, Huber loss of boxes.

    A criterion of a family, see `yolox.families.base`. anchor_scale: as the spec's.
    """

    def __init__(self, anchor_scale: float):
        self._scale = anchor_scale
        self.mean_over_processes: CountMean = unchanged

    def __call__(self, raw: Raw, targets: Tensor, *, plain: bool = False) -> dict[str, Tensor]:
        """Scalars: total_loss, focal_loss, box_loss (weighted as in the total), positives."""
        cls, box = raw.cls.float(), raw.box.float()
        outlines = corners(raw.sizes, self._scale, box.device)
        wanted, found, goals = torch.zeros_like(cls), [], []
        for image, padded in enumerate(targets.to(box.dtype)):
            objects = padded[(padded[:, 3] > 0) & (padded[:, 4] > 0)]
            if not len(objects):
                continue
            boxes = cxcywh_to_xyxy(objects[:, 1:])
            matches = match(outlines, boxes)
            wanted[image, matches.anchor, objects[matches.object, 0].long()] = 1.0
            found.append(box[image, matches.anchor])
            goals.append(encode(boxes[matches.object], outlines[matches.anchor]))
        positives = sum(len(part) for part in goals)
        count = self.mean_over_processes(box.new_full((), float(positives))) + 1.0
        box_loss = box.sum() * 0.0
        if goals:
            goal = torch.cat(goals)
            box_loss = _huber(torch.cat(found), goal) / (4 * count)
        terms = {"focal_loss": focal_loss(cls, wanted) / count, "box_loss": BOX_WEIGHT * box_loss}
        total = torch.stack(list(terms.values())).sum()
        return {"total_loss": total, **terms, "positives": count - 1.0}

    def distance(self, own: Raw, wanted: Raw) -> Tensor:
        """How far raw predictions are from those of another model; zero only where both agree.

        Cross-entropy of classes; Huber loss of boxes, weighted with the other's probability of its
        best class. Both over the sum of that probability, which stands for the positives.
        """
        sure = wanted.cls.float().sigmoid().amax(-1)
        count = sure.sum().clamp(min=1.0)
        apart = F.huber_loss(own.box.float(), wanted.box.float(), reduction="none", delta=DELTA)
        box = (apart.sum(-1) * sure).sum() / 4
        return (divergence(own.cls, wanted.cls).sum() + BOX_WEIGHT * box) / count


def focal_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Of all anchors and classes, summed (Lin 2017). wanted: 0 or 1."""
    ways = torch.where(wanted > 0, logits, -logits)  # of being right
    wrong = (-ways).sigmoid()
    return -(F.logsigmoid(ways) * wrong**GAMMA * torch.where(wanted > 0, ALPHA, 1 - ALPHA)).sum()


def _huber(found: Tensor, goal: Tensor) -> Tensor:
    """Summed; values that are exactly wanted to be zero do not count, as in the reference."""
    apart = F.huber_loss(found, goal, reduction="none", delta=DELTA)
    return (apart * (goal != 0)).sum()
