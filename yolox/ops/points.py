"""The grid of points that a detector predicts at, and the decoding of its raw predictions."""

from collections.abc import Sequence

import torch
from torch import Tensor


def grid_points(
    sizes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Cell corners and strides of all points, level by level and row by row.

    sizes: (height, width) in cells of each level.
    Returns points [A, 2] as (x, y) in cells of their level, and strides [A, 1] in pixels.
    """
    points, steps = [], []
    for (height, width), stride in zip(sizes, strides, strict=True):
        ys = torch.arange(height, device=device, dtype=dtype)
        xs = torch.arange(width, device=device, dtype=dtype)
        grid_y, grid_x = torch.meshgrid(ys, xs, indexing="ij")
        level = torch.stack([grid_x, grid_y], dim=-1).reshape(-1, 2)
        points.append(level)
        steps.append(torch.full((height * width, 1), stride, device=device, dtype=dtype))
    return torch.cat(points), torch.cat(steps)


def decode_boxes(box: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Raw offsets -> boxes (YOLOX paper, section 2.1).

    box: [..., A, 4] offsets in units of the stride, width and height as logarithms.
    points: [A, 2]; strides: [A, 1]. Returns [..., A, 4] cx, cy, w, h in pixels.
    """
    centres = (box[..., :2] + points) * strides
    extents = box[..., 2:].exp() * strides
    return torch.cat([centres, extents], dim=-1)


def decode_raw(raw: Tensor, size_hw: tuple[int, int], strides: Sequence[int]) -> Tensor:
    """Raw predictions [B, A, 4 + ...] of images of `size_hw` pixels, with their boxes decoded."""
    sizes = [(size_hw[0] // stride, size_hw[1] // stride) for stride in strides]
    points, steps = grid_points(sizes, strides, raw.device, raw.dtype)
    return torch.cat([decode_boxes(raw[..., :4], points, steps), raw[..., 4:]], dim=-1)
