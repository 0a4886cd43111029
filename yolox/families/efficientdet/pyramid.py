"""The weighted bidirectional feature pyramid (BiFPN, Tan 2020)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BN_EPS, BN_MOMENTUM = 1e-3, 0.01
FUSION_EPS = 1e-4
LEVELS = 5

# What each node of a cell sums, by number: 0 to 4 are the levels that enter, fine to coarse, then
# the nodes in this order: three on the way down, the finest, four on the way up.
NODES = ((3, 4), (2, 5), (1, 6), (0, 7), (1, 7, 8), (2, 6, 9), (3, 5, 10), (4, 11))
NODE_LEVELS = (3, 2, 1, 0, 1, 2, 3, 4)
OUTPUTS = (8, 9, 10, 11, 12)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """With the constants that EfficientDet has behind its backbone."""
    return nn.BatchNorm2d(channels, BN_EPS, BN_MOMENTUM)


class Separable(nn.Module):
    """A depthwise 3x3 convolution and a pointwise one with bias."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H, W]."""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


class Projection(nn.Module):
    """A 1x1 convolution to the pyramid's width, and its batch norm."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(inputs, outputs, 1), batch_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H, W]."""
        out: Tensor = self.norm(self.conv(x))
        return out


def halved(x: Tensor) -> Tensor:
    """Max-pooled 3x3 to half the size: [B, C, H, W], both even -> [B, C, H / 2, W / 2].

    The last row and column are repeated, which no maximum notices: OpenVINO reads no pooling whose
    kernel is larger than a map, as with `ceil_mode`.
    """
    return F.max_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 3, 2)


class Node(nn.Module):
    """A weighted sum, SiLU, and a separable convolution with batch norm."""

    def __init__(self, parts: int, channels: int, fusion: str):
        super().__init__()
        self.shares = nn.Parameter(torch.ones(parts)) if fusion == "weighted" else None
        self.conv, self.norm = Separable(channels, channels), batch_norm(channels)

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        """Maps [B, C, H, W] of one size -> [B, C, H, W]."""
        if self.shares is None:
            total = sum(parts[1:], parts[0])
        else:
            shares = self.shares.relu()
            shares = shares / (shares.sum() + FUSION_EPS)
            weighted = [
                part * share.to(part.dtype) for part, share in zip(parts, shares, strict=True)
            ]
            total = sum(weighted[1:], weighted[0])
        out: Tensor = self.norm(self.conv(F.silu(total)))
        return out


class Cell(nn.Module):
    """Down and up through the levels once.

    inputs: channels of the levels that enter; those of another width are projected, anew by each
    node that reads them.
    """

    def __init__(self, inputs: Sequence[int], channels: int, fusion: str):
        super().__init__()
        self.nodes = nn.ModuleList(Node(len(parts), channels, fusion) for parts in NODES)
        self.projections = nn.ModuleDict(
            {
                f"{node}_{part}": Projection(inputs[part], channels)
                for node, parts in enumerate(NODES)
                for part in parts
                if part < LEVELS and inputs[part] != channels
            }
        )

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Maps of the five levels, fine to coarse -> the same, each of the pyramid's width."""
        found = list(levels)
        for number, node in enumerate(self.nodes):
            found.append(node([self._part(found, number, part) for part in NODES[number]]))
        return [found[number] for number in OUTPUTS]

    def _part(self, found: Sequence[Tensor], node: int, part: int) -> Tensor:
        """What a node sums: of its own channels and size."""
        x, key = found[part], f"{node}_{part}"
        if key in self.projections:
            x = self.projections[key](x)
        level = part if part < LEVELS else NODE_LEVELS[part - LEVELS]
        if level > NODE_LEVELS[node]:
            return F.interpolate(x, scale_factor=2.0, mode="nearest")
        return halved(x) if level < NODE_LEVELS[node] else x


class Pyramid(nn.Module):
    """Two coarser levels are made of the last feature; then cell after cell."""

    def __init__(self, inputs: Sequence[int], channels: int, cells: int, fusion: str):
        super().__init__()
        self.coarser = Projection(inputs[-1], channels)
        widths = [[*inputs, channels, channels], *[[channels] * LEVELS] * (cells - 1)]
        self.cells = nn.ModuleList(Cell(width, channels, fusion) for width in widths)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features of strides 8, 16 and 32 -> maps of strides 8 to 128."""
        sixth = halved(self.coarser(features[-1]))
        levels = [*features, sixth, halved(sixth)]
        for cell in self.cells:
            levels = cell(levels)
        return levels
