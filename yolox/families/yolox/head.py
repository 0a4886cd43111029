"""The decoupled head of YOLOX: it predicts; decoding and losses live elsewhere."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from yolox.families.yolox.spec import HEAD_CHANNELS, YoloxSpec
from yolox.models.blocks import ConvBlock

PRIOR_PROB = 1e-2  # focal-loss bias initialisation (Lin 2017)


class Predictions(NamedTuple):
    """Raw predictions of all levels, fine to coarse, each level row by row.

    box: [B, A, 4] offsets (dx, dy, log w, log h) in units of the stride.
    obj: [B, A, 1] objectness logits.
    cls: [B, A, C] class logits.
    sizes: the (height, width) in cells of each level, so that A = sum of h * w.
    """

    box: Tensor
    obj: Tensor
    cls: Tensor
    sizes: tuple[tuple[int, int], ...]


class YOLOXHead(nn.Module):
    """One branch for classes, one for boxes and objectness, per level."""

    def __init__(self, spec: YoloxSpec, in_channels: Sequence[int]):
        super().__init__()
        width = int(HEAD_CHANNELS * spec.width)
        levels = range(len(in_channels))
        conv = spec.kind("head_conv")

        def branch() -> nn.Sequential:
            return nn.Sequential(*(conv.build(width, width, act=spec.act) for _ in range(2)))

        self.cls_convs = nn.ModuleList(branch() for _ in levels)
        self.reg_convs = nn.ModuleList(branch() for _ in levels)
        self.cls_preds = nn.ModuleList(nn.Conv2d(width, spec.num_classes, 1) for _ in levels)
        self.reg_preds = nn.ModuleList(nn.Conv2d(width, 4, 1) for _ in levels)
        self.obj_preds = nn.ModuleList(nn.Conv2d(width, 1, 1) for _ in levels)
        self.stems = nn.ModuleList(ConvBlock(c, width, 1, act=spec.act) for c in in_channels)
        bias = -math.log((1 - PRIOR_PROB) / PRIOR_PROB)
        for layer in [*self.cls_preds, *self.obj_preds]:
            nn.init.constant_(layer.bias, bias)

    @property
    def feature_readers(self) -> list[str]:
        """The convolutions that read the features, fine to coarse."""
        return [f"stems.{level}.conv" for level in range(len(self.stems))]

    def forward(self, features: Sequence[Tensor]) -> Predictions:
        """Features [B, C_l, H_l, W_l], fine to coarse -> raw predictions of all points."""
        box, obj, cls, sizes = [], [], [], []
        for level, feature in enumerate(features):
            x = self.stems[level](feature)
            cls.append(self.cls_preds[level](self.cls_convs[level](x)))
            regression = self.reg_convs[level](x)
            box.append(self.reg_preds[level](regression))
            obj.append(self.obj_preds[level](regression))
            sizes.append((feature.shape[-2], feature.shape[-1]))
        return Predictions(_flatten(box), _flatten(obj), _flatten(cls), tuple(sizes))


def _flatten(maps: Sequence[Tensor]) -> Tensor:
    """Maps [B, C, H_l, W_l] of all levels -> [B, A, C]."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1)
