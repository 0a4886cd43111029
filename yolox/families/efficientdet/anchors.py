"""Anchors: boxes of three sizes and three shapes at every cell of five levels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from yolox.families.efficientdet.spec import STRIDES
from yolox.ops.points import grid_points

OCTAVES = (0.0, 1 / 3, 2 / 3)  # sizes are 2 to the power of these
SHAPES = ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))  # width and height
COUNT = len(OCTAVES) * len(SHAPES)
LARGEST_LOG = 10.0  # of a size in anchors: larger than any image


def anchors(sizes: Sequence[tuple[int, int]], scale: float, like: Tensor) -> Tensor:
    """[A, 4] cx, cy, w, h in pixels: level by level, row by row, all anchors of a cell together.

    sizes: (height, width) of each level in cells. scale: `EfficientDetSpec.anchor_scale`.
    """
    points, steps = grid_points(sizes, STRIDES, like.device, like.dtype)
    shapes = [(w * 2**octave, h * 2**octave) for octave in OCTAVES for w, h in SHAPES]
    sides = like.new_tensor(shapes) * (scale * steps)[:, None]  # [cells, COUNT, 2]
    centres = ((points + 0.5) * steps)[:, None].expand_as(sides)
    return torch.cat([centres, sides], dim=-1).reshape(-1, 4)


def decode(box: Tensor, fixed: Tensor) -> Tensor:
    """Predictions [..., A, 4] (y, x, log h, log w; in anchors) -> cx, cy, w, h in pixels."""
    centre = box[..., [1, 0]] * fixed[:, 2:] + fixed[:, :2]
    size = box[..., [3, 2]].clamp(max=LARGEST_LOG).exp() * fixed[:, 2:]
    return torch.cat([centre, size], dim=-1)


def encode(boxes: Tensor, fixed: Tensor) -> Tensor:
    """The reverse for boxes [F, 4] and their anchors [F, 4], both x0, y0, x1, y1."""
    sizes, sides = boxes[:, 2:] - boxes[:, :2], fixed[:, 2:] - fixed[:, :2]
    centre = (boxes[:, :2] + sizes / 2 - (fixed[:, :2] + sides / 2)) / sides
    size = (sizes / sides).log()
    return torch.stack([centre[:, 1], centre[:, 0], size[:, 1], size[:, 0]], dim=-1)
