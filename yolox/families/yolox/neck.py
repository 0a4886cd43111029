"""Necks: PAFPN over three or four levels, and the top-down FPN of YOLOv3.

Module names are YOLOX's, coarse to fine then fine to coarse. For three levels: lateral_conv0,
C3_p4, reduce_conv1, C3_p3, bu_conv2, C3_n3, bu_conv1, C3_n4.
"""

import torch
from torch import Tensor, nn

from yolox.families.yolox.backbone import BASE_BLOCKS, CSPDarknet, Darknet53
from yolox.families.yolox.spec import YoloxSpec
from yolox.models.blocks import ConvBlock, CSPLayer, conv_factory

FIRST_LEVEL = 3  # stride 8 = 2^3


class PAFPN(nn.Module):
    """Path-aggregation FPN (Liu 2018) over CSPDarknet; features out, fine to coarse."""

    def __init__(self, spec: YoloxSpec):
        super().__init__()
        self.backbone = CSPDarknet(spec)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.out_channels = [int(channels * spec.width) for channels in spec.channels]
        conv = conv_factory(spec.depthwise)
        blocks = round(BASE_BLOCKS * spec.depth)
        steps = len(spec.strides) - 1
        self.down_names, self.up_names = _step_names(steps)

        def csp(in_channels: int, out_channels: int) -> CSPLayer:
            return CSPLayer(
                in_channels, out_channels, blocks, shortcut=False, depthwise=spec.depthwise,
                act=spec.act, rest=spec.csp_shortcut == "rest",
            )  # fmt: skip

        for step, (lateral, merge) in enumerate(self.down_names):
            wide, narrow = self.out_channels[steps - step], self.out_channels[steps - step - 1]
            setattr(self, lateral, ConvBlock(wide, narrow, 1, act=spec.act))
            setattr(self, merge, csp(2 * narrow, narrow))
        for step, (down, merge) in enumerate(self.up_names):
            narrow, wide = self.out_channels[step], self.out_channels[step + 1]
            setattr(self, down, conv(narrow, narrow, 3, 2, act=spec.act))
            setattr(self, merge, csp(2 * narrow, wide))

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> one feature per level, fine to coarse."""
        features = self.backbone(images)
        x = features[-1]
        laterals = []
        for (lateral, merge), finer in zip(self.down_names, reversed(features[:-1]), strict=True):
            reduced = getattr(self, lateral)(x)
            laterals.append(reduced)
            x = getattr(self, merge)(torch.cat([self.upsample(reduced), finer], dim=1))
        outputs = [x]
        for (down, merge), reduced in zip(self.up_names, reversed(laterals), strict=True):
            x = getattr(self, merge)(torch.cat([getattr(self, down)(x), reduced], dim=1))
            outputs.append(x)
        return outputs


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
        fine, middle, coarse = self.backbone(images)
        middle = self.out1(torch.cat([self.upsample(self.out1_cbl(coarse)), middle], dim=1))
        fine = self.out2(torch.cat([self.upsample(self.out2_cbl(middle)), fine], dim=1))
        return [fine, middle, coarse]


def _embedding(narrow: int, wide: int, in_channels: int, act: str) -> nn.Sequential:
    """Five convolutions, 1x1 and 3x3 in turn, as after each merge of YOLOv3."""
    shapes = [(in_channels, narrow, 1), (narrow, wide, 3), (wide, narrow, 1)]
    shapes += [(narrow, wide, 3), (wide, narrow, 1)]
    return nn.Sequential(*(ConvBlock(i, o, k, act=act) for i, o, k in shapes))
