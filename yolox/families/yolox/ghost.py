"""The backbone of GhostNet (Han 2020), to stride 32: cheap convolutions make half the channels."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from yolox.families.yolox.backbone import Backbone
from yolox.models.blocks import ConvBlock

STEM_CHANNELS = 16
SQUEEZE = 4  # squeeze-and-excitation: channels between, as a share of those outside


class Row(NamedTuple):
    """One bottleneck: kernel, channels inside, channels out, squeeze-and-excitation, stride."""

    kernel: int
    inside: int
    out: int
    excited: bool
    stride: int


STAGES: dict[str, tuple[Row, ...]] = {  # by the stride they end at: 4, 8, 16, 32
    "dark2": (Row(3, 16, 16, False, 1), Row(3, 48, 24, False, 2), Row(3, 72, 24, False, 1)),
    "dark3": (Row(5, 72, 40, True, 2),),
    "dark4": (
        Row(5, 120, 40, True, 1),
        Row(3, 240, 80, False, 2),
        Row(3, 200, 80, False, 1),
        Row(3, 184, 80, False, 1),
        Row(3, 184, 80, False, 1),
    ),
    "dark5": (Row(3, 480, 112, True, 1), Row(3, 672, 160, True, 2)),
}


class GhostModule(nn.Module):
    """1x1 convolution to half of the channels, and a depthwise 3x3 of them for the other half."""

    def __init__(self, in_channels: int, out_channels: int, act: str):
        super().__init__()
        half = out_channels // 2
        self.primary = ConvBlock(in_channels, half, 1, act=act)
        self.cheap = ConvBlock(half, half, 3, groups=half, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, H, W] -> [B, C_out, H, W]."""
        primary = self.primary(x)
        return torch.cat([primary, self.cheap(primary)], dim=1)


class SqueezeExcitation(nn.Module):
    """Channels weighted by what their means say (Hu 2018), weights clamped to 0 and 1."""

    def __init__(self, channels: int):
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // SQUEEZE, 1)
        self.expand = nn.Conv2d(channels // SQUEEZE, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        mean = x.mean(dim=(2, 3), keepdim=True)
        weights: Tensor = self.expand(self.reduce(mean).relu()).clamp(0.0, 1.0)
        return x * weights


class GhostBottleneck(nn.Module):
    """Two Ghost modules with the stride between them, and a shortcut."""

    def __init__(self, in_channels: int, row: Row, act: str):
        super().__init__()
        kernel, inside, out, excited, stride = row
        layers: list[nn.Module] = [GhostModule(in_channels, inside, act)]
        if stride > 1:
            layers.append(ConvBlock(inside, inside, kernel, stride, groups=inside, act="none"))
        if excited:
            layers.append(SqueezeExcitation(inside))
        layers.append(GhostModule(inside, out, "none"))
        self.body = nn.Sequential(*layers)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out:
            self.shortcut = nn.Sequential(
                ConvBlock(in_channels, in_channels, kernel, stride, groups=in_channels, act="none"),
                ConvBlock(in_channels, out, 1, act="none"),
            )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, H, W] -> [B, C_out, H / stride, W / stride]."""
        out: Tensor = self.body(x) + self.shortcut(x)
        return out


class GhostNet(Backbone):
    """Stages named as those of the other backbones; features of 24, 40, 80 and 160 channels."""

    def __init__(self, act: str = "relu"):
        super().__init__(levels=3)
        self.stem = ConvBlock(3, STEM_CHANNELS, 3, 2, act=act)
        channels = STEM_CHANNELS
        for name, rows in STAGES.items():
            layers = []
            for row in rows:
                layers.append(GhostBottleneck(channels, row, act))
                channels = row.out
            setattr(self, name, nn.Sequential(*layers))
