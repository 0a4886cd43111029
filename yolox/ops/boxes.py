"""Box formats and overlaps. Formats are in the names; pixels unless said."""

import torch
from torch import Tensor


def cxcywh_to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """[..., 4] centre and size -> [..., 4] corners."""
    half = boxes_cxcywh[..., 2:4] / 2
    centre = boxes_cxcywh[..., :2]
    return torch.cat([centre - half, centre + half], dim=-1)


def xyxy_to_cxcywh(boxes_xyxy: Tensor) -> Tensor:
    """[..., 4] corners -> [..., 4] centre and size."""
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:4]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def _intersection_and_union(first_cxcywh: Tensor, second_cxcywh: Tensor) -> tuple[Tensor, Tensor]:
    first, second = cxcywh_to_xyxy(first_cxcywh), cxcywh_to_xyxy(second_cxcywh)
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    overlap = (high - low).clamp(min=0).prod(dim=-1)
    areas = first_cxcywh[..., 2:4].prod(dim=-1) + second_cxcywh[..., 2:4].prod(dim=-1)
    return overlap, areas - overlap


def iou_cxcywh(first: Tensor, second: Tensor) -> Tensor:
    """IoU of boxes [..., 4] that broadcast against each other; [...] in 0..1."""
    overlap, union = _intersection_and_union(first, second)
    return overlap / (union + 1e-16)


def iou_matrix(first_cxcywh: Tensor, second_cxcywh: Tensor) -> Tensor:
    """IoU of each of [N, 4] boxes with each of [M, 4]: [N, M], the same numbers as `iou_cxcywh`.

    Without gradients: each side is worked out in an array of its own, in place, which is faster.
    """
    first, second = cxcywh_to_xyxy(first_cxcywh), cxcywh_to_xyxy(second_cxcywh)
    sides = []
    for axis in (0, 1):
        low = torch.maximum(first[:, axis, None], second[:, axis])
        high = torch.minimum(first[:, axis + 2, None], second[:, axis + 2])
        sides.append(high.sub_(low).clamp_(min=0))
    overlap = sides[0].mul_(sides[1])
    area, other = (boxes[:, 2] * boxes[:, 3] for boxes in (first_cxcywh, second_cxcywh))
    union = (area[:, None] + other).sub_(overlap)
    return overlap.div_(union.add_(1e-16))


def giou_cxcywh(first: Tensor, second: Tensor) -> Tensor:
    """Generalised IoU (Rezatofighi 2019) of boxes [..., 4] that broadcast; [...] in -1..1."""
    overlap, union = _intersection_and_union(first, second)
    first_xyxy, second_xyxy = cxcywh_to_xyxy(first), cxcywh_to_xyxy(second)
    low = torch.minimum(first_xyxy[..., :2], second_xyxy[..., :2])
    high = torch.maximum(first_xyxy[..., 2:], second_xyxy[..., 2:])
    hull = (high - low).prod(dim=-1).clamp(min=1e-16)
    return overlap / (union + 1e-16) - (hull - union) / hull
