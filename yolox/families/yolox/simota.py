"""SimOTA label assignment (YOLOX paper, section 2.2; simplified optimal transport of Ge 2021)."""

from typing import NamedTuple

import torch
from torch import Tensor

from yolox.ops.boxes import iou_matrix

CENTER_RADIUS = 1.5  # in strides; YOLOX 0.3.0
TOP_CANDIDATES = 10  # IoUs summed to find each object's number of points
IOU_WEIGHT = 3.0
OUTSIDE_COST = 1e6
LOG_FLOOR = -100.0  # as torch's binary cross-entropy clamps its logarithms


class Assignment(NamedTuple):
    """Which points of one image are foreground, and what each one answers for.

    points: [F] indices of foreground points, ascending.
    objects: [F] row of the matched object.
    ious: [F] IoU of the predicted box with the matched object's box.
    """

    points: Tensor
    objects: Tensor
    ious: Tensor


class PointPredictions(NamedTuple):
    """One image's predictions: boxes [A, 4] cx, cy, w, h; obj [A, 1] and cls [A, C] logits."""

    boxes_cxcywh: Tensor
    obj: Tensor
    cls: Tensor


@torch.no_grad()
def assign(
    predictions: PointPredictions, targets: Tensor, points: Tensor, strides: Tensor
) -> Assignment:
    """Match the points of one image to its objects.

    targets: [G, 5] class, cx, cy, w, h in pixels, without padding rows.
    points: [A, 2] in cells; strides: [A, 1] in pixels.
    """
    device = targets.device
    if len(targets) == 0:
        none = torch.zeros(0, dtype=torch.long, device=device)
        return Assignment(none, none, torch.zeros(0, device=device, dtype=targets.dtype))
    near = _near_centre(targets, points, strides)
    candidates = near.any(dim=0).nonzero().squeeze(1)
    near = near.index_select(1, candidates)
    ious = iou_matrix(targets[:, 1:5], predictions.boxes_cxcywh[candidates])
    cost = _class_cost(
        predictions.obj[candidates], predictions.cls[candidates], targets[:, 0].long()
    )
    cost.sub_((ious + 1e-8).log_().mul_(IOU_WEIGHT)).add_(near.logical_not_(), alpha=OUTSIDE_COST)
    chosen, owner = _match(cost, ious)
    return Assignment(candidates[chosen], owner[chosen], ious[owner[chosen], chosen])


def _near_centre(targets: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """[G, A]: whether the point's cell centre lies within CENTER_RADIUS strides of the object's."""
    radius = CENTER_RADIUS * strides[:, 0]
    x, y = ((points + 0.5) * strides).unbind(dim=1)
    beside = targets[:, 1:2].sub(x).abs_() < radius
    return beside.logical_and_(targets[:, 2:3].sub(y).abs_() < radius)


def _class_cost(obj: Tensor, cls: Tensor, labels: Tensor) -> Tensor:
    """[G, A]: cross-entropy between sqrt(class x objectness) and each object's one-hot class.

    The sum over classes is shared by all objects; only the object's own class differs. That takes
    A x C + G x A values where the direct form takes G x A x C.
    """
    probability = (cls.sigmoid() * obj.sigmoid()).sqrt()
    absent = -torch.log1p(-probability).clamp(min=LOG_FLOOR)
    present = -probability.log().clamp(min=LOG_FLOOR)
    swap = (present - absent).t().contiguous().index_select(0, labels)
    return swap.add_(absent.sum(dim=1))


def _match(cost: Tensor, ious: Tensor) -> tuple[Tensor, Tensor]:
    """Candidates taken by at least one object (their indices), and the owner of every candidate.

    Each object takes as many candidates, cheapest first, as its best IoUs sum up to. A candidate
    that several objects take goes to the object for which it is cheapest of all.
    """
    top = min(TOP_CANDIDATES, cost.shape[1])
    wanted = ious.topk(top, dim=1).values.sum(dim=1).int().clamp(min=1)
    cheapest = cost.topk(top, dim=1, largest=False).indices
    taken = torch.zeros_like(cost, dtype=torch.bool)
    taken.scatter_(1, cheapest, torch.arange(top, device=cost.device)[None] < wanted[:, None])
    claims = taken.sum(dim=0)
    owner = torch.where(claims > 1, cost.argmin(dim=0), taken.int().argmax(dim=0))
    return claims.nonzero().squeeze(1), owner
