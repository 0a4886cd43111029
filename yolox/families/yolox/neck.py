"""Necks: PAFPN over three or four levels, and the top-down FPN of YOLOv3.

Module names are YOLOX's, coarse to fine then fine to coarse. For three levels: lateral_conv0,
C3_p4, reduce_conv1, C3_p3, bu_conv2, C3_n3, bu_conv1, C3_n4.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolox.families.yolox.backbone import BASE_BLOCKS, CSPDarknet, Darknet53
from yolox.families.yolox.ghost import GhostNet
from yolox.families.yolox.spec import YoloxSpec
from yolox.models.blocks import ConvBlock, ConvKind, CSPLayer

FIRST_LEVEL = 3  # stride 8 = 2^3


class PAFPN(nn.Module):
    """Path-aggregation FPN (Liu 2018) over CSPDarknet or GhostNet; features out, fine to coarse."""

    def __init__(self, spec: YoloxSpec):
        super().__init__()
        self.backbone = GhostNet() if spec.backbone == "ghost" else CSPDarknet(spec)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.out_channels = list(spec.widths)
        down = spec.kind("neck_down")
        blocks = round(BASE_BLOCKS * spec.depth)
        steps = len(spec.strides) - 1
        self.down_names, self.up_names = _step_names(steps)

        def csp(in_channels: int, out_channels: int) -> CSPLayer:
            return CSPLayer(
                in_channels,
                out_channels,
                blocks,
                shortcut=False,
                conv=spec.kind("neck_conv"),
                act=spec.act,
                rest=spec.csp_shortcut == "rest",
            )

        for step, (lateral, merge) in enumerate(self.down_names):
            wide, narrow = self.out_channels[steps - step], self.out_channels[steps - step - 1]
            setattr(self, lateral, ConvBlock(wide, narrow, 1, act=spec.act))
            setattr(self, merge, csp(2 * narrow, narrow))
        for step, (reduce, merge) in enumerate(self.up_names):
            narrow, wide = self.out_channels[step], self.out_channels[step + 1]
            setattr(self, reduce, down.build(narrow, narrow, 2, act=spec.act))
            setattr(self, merge, csp(2 * narrow, wide))
        self.dark2_path = Dark2Path(spec) if spec.fpn_dark2 else None

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> one feature per level, fine to coarse."""
        before, *features = self.backbone(images)
        x = features[-1]
        laterals = []
        for (lateral, merge), finer in zip(self.down_names, reversed(features[:-1]), strict=True):
            reduced = getattr(self, lateral)(x)
            laterals.append(reduced)
            x = getattr(self, merge)(torch.cat([self.upsample(reduced), finer], dim=1))
        outputs = [x]
        added = self.dark2_path(before, features[0]) if self.dark2_path is not None else None
        for (down, merge), reduced in zip(self.up_names, reversed(laterals), strict=True):
            halved = getattr(self, down)(x)
            if added is not None:
                pooled = added if x is outputs[0] else F.max_pool2d(added, 2)
                halved, added = halved + _repeated(pooled, halved.shape[1]), pooled
            x = getattr(self, merge)(torch.cat([halved, reduced], dim=1))
            outputs.append(x)
        return outputs


class Dark2Path(nn.Module):
    """What the backbone's feature of stride 4 adds to the bottom-up steps of the neck.

    It is halved by a plain depthwise convolution, added to the finest level's feature, and halved
    again by a separable one. The result is added where a step's input was halved, and pooled for
    the next step.
    """

    def __init__(self, spec: YoloxSpec):
        super().__init__()
        fine, act = spec.widths[0], spec.act
        self.down = ConvKind("depthwise-3").build(spec.stage_widths[1], fine, 2, act=act)
        self.mix = ConvKind("separable-3").build(fine, fine, 2, act=act)

    def forward(self, before: Tensor, finest: Tensor) -> Tensor:
        """Features of stride 4 and 8 -> [B, C of the finest level, H / 16, W / 16]."""
        out: Tensor = self.mix(self.down(before) + finest)
        return out


def _repeated(x: Tensor, channels: int) -> Tensor:
    """The channels over and over again, until there are so many."""
    times = channels // x.shape[1]
    return torch.cat([x] * times, dim=1) if times > 1 else x


def _step_names(steps: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(reduce, merge) names of the top-down steps, then of the bottom-up steps."""
    top = FIRST_LEVEL + steps
    reduce = [*(f"lateral_conv{step}" for step in range(steps - 1)), "reduce_conv1"]
    down = [(name, f"C3_p{top - 1 - step}") for step, name in enumerate(reduce)]
    up = [(f"bu_conv{2 - step}", f"C3_n{FIRST_LEVEL + step}") for step in range(steps)]
    return down, up


class TopDownFPN(nn.Module):
    """The neck of YOLOv3: top-down only, over Darknet-53 (levels 128, 256, 512)."""

    def __init__(self, act: str):
        super().__init__()
        self.backbone = Darknet53(act)
        self.out_channels = [128, 256, 512]
        self.out1_cbl = ConvBlock(512, 256, 1, act=act)
        self.out1 = _embedding(256, 512, 512 + 256, act)
        self.out2_cbl = ConvBlock(256, 128, 1, act=act)
        self.out2 = _embedding(128, 256, 256 + 128, act)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> features at strides 8, 16, 32."""
        _, fine, middle, coarse = self.backbone(images)
        middle = self.out1(torch.cat([self.upsample(self.out1_cbl(coarse)), middle], dim=1))
        fine = self.out2(torch.cat([self.upsample(self.out2_cbl(middle)), fine], dim=1))
        return [fine, middle, coarse]


def _embedding(narrow: int, wide: int, in_channels: int, act: str) -> nn.Sequential:
    """Five convolutions, 1x1 and 3x3 in turn, as after each merge of YOLOv3."""
    shapes = [(in_channels, narrow, 1), (narrow, wide, 3), (wide, narrow, 1)]
    shapes += [(narrow, wide, 3), (wide, narrow, 1)]
    return nn.Sequential(*(ConvBlock(i, o, k, act=act) for i, o, k in shapes))
