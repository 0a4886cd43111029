"""What the network predicts, apart from the network: its loss needs no torchvision."""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F


class Raw(NamedTuple):
    """heat [B, C, H, W] logits of centres; size, offset [B, 2, H, W]: width and height of the
    object, x and y of its centre in the cell, all in cells.
    """

    heat: Tensor
    size: Tensor
    offset: Tensor


def local_peaks(heat: Tensor) -> Tensor:
    """Maps [B, C, H, W] in which all but the largest value of each 3x3 neighbourhood is zero."""
    return heat * (F.max_pool2d(heat, 3, 1, 1) == heat)
