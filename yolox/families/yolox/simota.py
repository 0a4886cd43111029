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
    """Which points of a batch are foreground, and what each one answers for.

    images, points: [F] indices of foreground points, ascending.
    rows: [F] row of the matched object among the image's targets.
    ious: [F] IoU of the predicted box with the matched object's box.
    """

    images: Tensor
    points: Tensor
    rows: Tensor
    ious: Tensor


class PointPredictions(NamedTuple):
    """Predictions: boxes [B, A, 4] cx, cy, w, h; obj [B, A, 1] and cls [B, A, C] logits."""

    boxes_cxcywh: Tensor
    obj: Tensor
    cls: Tensor


@torch.no_grad()
def assign(
    predictions: PointPredictions, targets: Tensor, points: Tensor, strides: Tensor
) -> tuple[Assignment, int]:
    """Match the points of each image to its objects; also the number of objects in the batch.

    targets: [B, N, 5] class, cx, cy, w, h in pixels; rows without a size are padding.
    points: [A, 2] in cells; strides: [A, 1] in pixels.

    The host waits for the device four times, however many images there are: for the numbers of
    objects, of candidates (twice) and of matches.
    """
    is_real = (targets[..., 3] > 0) & (targets[..., 4] > 0)
    counts: list[int] = is_real.sum(dim=1).tolist()
    order = is_real.logical_not().byte().argsort(dim=1, stable=True)
    rows = [of_image[:count] for of_image, count in zip(order, counts, strict=True)]
    real = [of_image[kept] for of_image, kept in zip(targets, rows, strict=True)]
    near = [_near_centre(objects, points, strides) for objects in real]
    is_candidate = torch.stack([of_image.any(dim=0) for of_image in near])
    images, candidates = is_candidate.nonzero(as_tuple=True)
    places = torch.split(candidates, is_candidate.sum(dim=1).tolist())
    claims, owners, ious = [], [], []
    for image, place in enumerate(places):
        if not len(place):
            continue
        here = PointPredictions(*(of_batch[image, place] for of_batch in predictions))
        claimed, owner, iou = _match(here, real[image], near[image].index_select(1, place))
        claims.append(claimed)
        owners.append(rows[image][owner])
        ious.append(iou)
    if not claims:
        none = targets.new_zeros(0)
        return Assignment(images, candidates, images, none), sum(counts)
    taken = torch.cat(claims).nonzero().squeeze(1)
    per_candidate = images, candidates, torch.cat(owners), torch.cat(ious)
    return Assignment(*(of_all[taken] for of_all in per_candidate)), sum(counts)


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


def _match(
    candidates: PointPredictions, targets: Tensor, near: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """How many objects take each candidate of an image, its owner and the IoU with it: [K] each.

    candidates: their predictions, [K, ...]. targets: [G, 5]. near: [G, K] whether the candidate
    lies near the object's centre.

    Each object takes as many candidates, cheapest first, as its best IoUs sum up to. A candidate
    that several objects take goes to the object for which it is cheapest of all.
    """
    ious = iou_matrix(targets[:, 1:5], candidates.boxes_cxcywh)
    cost = _class_cost(candidates.obj, candidates.cls, targets[:, 0].long())
    cost.sub_((ious + 1e-8).log_().mul_(IOU_WEIGHT)).add_(near.logical_not(), alpha=OUTSIDE_COST)
    top = min(TOP_CANDIDATES, cost.shape[1])
    wanted = ious.topk(top, dim=1).values.sum(dim=1).int().clamp(min=1)
    cheapest = cost.topk(top, dim=1, largest=False).indices
    taken = torch.zeros_like(cost, dtype=torch.bool)
    taken.scatter_(1, cheapest, torch.arange(top, device=cost.device)[None] < wanted[:, None])
    claims = taken.sum(dim=0)
    owner = torch.where(claims > 1, cost.argmin(dim=0), taken.int().argmax(dim=0))
    return claims, owner, ious.gather(0, owner[None])[0]
