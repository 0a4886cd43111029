"""What a CenterNet should predict: a Gaussian around each centre, sizes and offsets there."""

from typing import NamedTuple

import torch
from torch import Tensor

MIN_OVERLAP = 0.3  # IoU that a box moved within the radius still has with its object


class Targets(NamedTuple):
    """heat [B, C, H, W], 1 at centres. Of the N objects of each image: cell [B, N], its index in
    H * W; size, offset [B, N, 2] in cells; is_kept [B, N], whether the object is the last in its
    cell (others and padding are not). peaks: how many cells and classes have a centre, a scalar.
    """

    heat: Tensor
    cell: Tensor
    size: Tensor
    offset: Tensor
    is_kept: Tensor
    peaks: Tensor


def make_targets(objects: Tensor, classes: int, stride: int, size_hw: tuple[int, int]) -> Targets:
    """objects: [B, N, 5] class, cx, cy, w, h in pixels; rows without a size are padding.

    size_hw: of the heatmap, in cells. Centres outside of it move to its border.
    """
    height, width = size_hw
    valid = (objects[..., 3] > 0) & (objects[..., 4] > 0)
    label = objects[..., 0].long() * valid
    centre, size = objects[..., 1:3] / stride, objects[..., 3:] / stride
    corner = torch.tensor([width - 1, height - 1], device=objects.device)
    place = torch.minimum(centre.floor().long().clamp(min=0), corner)
    heat = objects.new_zeros(len(objects), classes, height, width)
    radius = gaussian_radius(size[..., 1], size[..., 0]).floor().clamp(min=0)
    for image in range(len(objects)):
        around = gaussians(place[image], radius[image], size_hw)
        around = around * valid[image, :, None, None]
        of = label[image, :, None, None].expand_as(around)
        heat[image].scatter_reduce_(0, of, around, "amax")
    cell = place[..., 1] * width + place[..., 0]
    kept = last_of_each(cell, valid, height * width)
    return Targets(heat, cell, size, centre - place, kept, (heat == 1).sum())


def last_of_each(cell: Tensor, valid: Tensor, cells: int) -> Tensor:
    """[B, N]: whether an object is the last of those in its cell. Those not valid never are."""
    order = torch.arange(1, cell.shape[1] + 1, device=cell.device).expand_as(cell) * valid
    last = order.new_zeros(len(cell), cells).scatter_reduce(1, cell, order, "amax")
    return valid & (last.gather(1, cell) == order)


def gaussian_radius(height: Tensor, width: Tensor, overlap: float = MIN_OVERLAP) -> Tensor:
    """How far a corner may move before a box has less than `overlap` in common with an object.

    The smallest of the three cases of CornerNet (Law 2018): both corners inside, both outside, one
    of each, with the roots as the field's implementations have them.
    """
    total, area = height + width, height * width
    inside_out = area * (1 - overlap) / (1 + overlap)
    roots = [
        (total - (total**2 - 4 * inside_out).clamp(min=0).sqrt()) / 2,
        (2 * total - (4 * total**2 - 16 * (1 - overlap) * area).clamp(min=0).sqrt()) / 8,
        (
            -2 * overlap * total
            + (4 * overlap**2 * total**2 + 16 * overlap * (1 - overlap) * area).sqrt()
        )
        / (8 * overlap),
    ]
    return torch.stack(roots).amin(0)


def gaussians(place: Tensor, radius: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """[N, H, W]: 1 at each place [N, 2] (x, y), and a bell within the radius [N] around it.

    Its standard deviation is a sixth of its diameter, 2 r + 1.
    """
    height, width = size_hw
    sigma = ((2 * radius + 1) / 6)[:, None]
    parts = []
    for axis, count in ((1, height), (0, width)):
        away = torch.arange(count, device=place.device) - place[:, axis, None]
        bell = (-(away**2) / (2 * sigma**2)).exp()
        parts.append(bell * (away.abs() <= radius[:, None]))
    return parts[0][:, :, None] * parts[1][:, None, :]
