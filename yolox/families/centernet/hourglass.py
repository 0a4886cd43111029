"""Stacked hourglass networks (Newell 2016), whole (Law 2018) or of fire modules (Law 2019)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Block = Callable[[int, int, int], nn.Module]  # inputs, outputs, stride


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """A convolution and its batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.first = conv_norm(inputs, outputs, 3, stride)
        self.second = conv_norm(outputs, outputs, 3)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else conv_norm(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H / stride, W / stride]."""
        out = self.second(F.relu(self.first(x)))
        return F.relu(out + self.shortcut(x))


class FireBlock(nn.Module):
    """A 1x1 convolution to half the channels, then a 1x1 and a depthwise 3x3 side by side."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        half = outputs // 2
        self.squeeze = conv_norm(inputs, half, 1)
        self.point = nn.Conv2d(half, half, 1, stride, bias=False)
        self.depth = nn.Conv2d(half, half, 3, stride, 1, groups=half, bias=False)
        self.point_norm, self.depth_norm = nn.BatchNorm2d(half), nn.BatchNorm2d(half)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H / stride, W / stride]."""
        squeezed = self.squeeze(x)
        point = self.point_norm(self.point(squeezed))
        out = torch.cat([point, self.depth_norm(self.depth(squeezed))], dim=1)
        return F.relu(out + x if self.adds else out)


@dataclass(frozen=True)
class Layout:
    """channels, blocks: of each depth, from the output's size down to the deepest.

    stem: channels of its first convolution (7x7, stride 2) and of the basic blocks behind it, each
        of which halves the size. fire: the hourglasses are of fire modules, whose last block of a
        layer changes the size; in a whole one that is the first.
    """

    channels: tuple[int, ...]
    blocks: tuple[int, ...]
    stem: tuple[int, ...]
    fire: bool = False
    stacks: int = 2


LAYOUTS = {
    "hourglass104": Layout((256, 256, 384, 384, 384, 512), (2, 2, 2, 2, 2, 4), (128, 256)),
    "hourglass_fire": Layout((256, 256, 384, 384, 512), (2, 2, 2, 2, 4), (64, 128, 256), fire=True),
}


class Hourglass(nn.Module):
    """Down and up again, with a shortcut of its own at each size."""

    def __init__(self, layout: Layout, depth: int = 0):
        super().__init__()
        here, below = layout.channels[depth], layout.channels[depth + 1]
        blocks = layout.blocks[depth]
        kind: Block = FireBlock if layout.fire else BasicBlock
        first = not layout.fire
        self.beside = _layer(kind, here, here, blocks, 1, first)
        self.down = _layer(kind, here, below, blocks, 2, first)
        if depth + 2 < len(layout.channels):
            self.middle: nn.Module = Hourglass(layout, depth + 1)
        else:
            self.middle = _layer(kind, below, below, layout.blocks[depth + 1], 1, first)
        self.up = _layer(kind, below, here, blocks, 1, first=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        up = self.up(self.middle(self.down(x)))
        out: Tensor = self.beside(x) + F.interpolate(up, scale_factor=2.0, mode="nearest")
        return out


def _layer(
    kind: Block, inputs: int, outputs: int, blocks: int, stride: int, first: bool
) -> nn.Sequential:
    """Blocks one behind the other; the first or the last of them changes channels and size."""
    if first:
        rest = [kind(outputs, outputs, 1) for _ in range(blocks - 1)]
        return nn.Sequential(kind(inputs, outputs, stride), *rest)
    rest = [kind(inputs, inputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(*rest, kind(inputs, outputs, stride))


class HourglassBackbone(nn.Module):
    """Several hourglasses one behind the other; what the last one makes is the feature."""

    def __init__(self, layout: Layout):
        super().__init__()
        width, first = layout.channels[0], layout.stem[0]
        between: Sequence[int] = range(layout.stacks - 1)
        blocks = [BasicBlock(a, b, 2) for a, b in pairwise(layout.stem)]
        self.stem = nn.Sequential(conv_norm(3, first, 7, 2), nn.ReLU(), *blocks)
        self.hourglasses = nn.ModuleList(Hourglass(layout) for _ in range(layout.stacks))
        self.outs = nn.ModuleList(conv_norm(width, width, 3) for _ in range(layout.stacks))
        self.ways = nn.ModuleList(conv_norm(width, width, 1) for _ in between)
        self.backs = nn.ModuleList(conv_norm(width, width, 1) for _ in between)
        self.mixes = nn.ModuleList(BasicBlock(width, width, 1) for _ in between)
        self.out_channels = width

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, out_channels, H / stride, W / stride]."""
        x = self.stem(x)
        last = len(self.hourglasses) - 1
        for number, hourglass in enumerate(self.hourglasses):
            out = F.relu(self.outs[number](hourglass(x)))
            if number < last:
                x = F.relu(self.ways[number](x) + self.backs[number](out))
                x = self.mixes[number](x)
        return out
