"""Backbones: CSPDarknet with three or four output levels, and Darknet-53. See `ghost.py`, too."""

from torch import Tensor, nn

from yolox.families.yolox.spec import YoloxSpec
from yolox.models.blocks import ConvBlock, CSPLayer, Focus, ResidualBlock, SPPBottleneck

BASE_BLOCKS = (
    3  # bottlenecks of the first stage, before `depth`; the middle stages have three times as many
)


class Backbone(nn.Module):
    """Runs `stem` and the stages `dark2`, `dark3`, ...; returns the feature of each stage."""

    stem: nn.Module

    def __init__(self, levels: int):
        super().__init__()
        self.stage_names = [f"dark{stage}" for stage in range(2, levels + 3)]

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> features of stride 4, 8, ...; the first is before the levels."""
        x = self.stem(images)
        features = []
        for name in self.stage_names:
            x = getattr(self, name)(x)
            features.append(x)
        return features


class CSPDarknet(Backbone):
    """Focus stem and CSP stages; the last one carries SPP and no residual connections."""

    def __init__(self, spec: YoloxSpec):
        super().__init__(levels=len(spec.strides))
        base = max(round(BASE_BLOCKS * spec.depth), 1)
        channels, *widths = spec.stage_widths
        blocks = [base, *([base * 3] * (len(widths) - 2)), base]
        self.stem = Focus(3, channels, 3, spec.act)
        down = spec.kind("backbone_down")
        stages = zip(widths, blocks, spec.backbone_convs, strict=True)
        for name, (width, count, conv) in zip(self.stage_names, stages, strict=True):
            last = name == self.stage_names[-1]
            layers: list[nn.Module] = [down.build(channels, width, 2, act=spec.act)]
            if last:
                layers.append(SPPBottleneck(width, width, spec.act))
            layers.append(
                CSPLayer(
                    width,
                    width,
                    count,
                    shortcut=not last,
                    conv=conv,
                    act=spec.act,
                    rest=spec.csp_shortcut == "rest",
                )
            )
            setattr(self, name, nn.Sequential(*layers))
            channels = width


class Darknet53(Backbone):
    """Darknet-53 with an SPP block, as YOLOX's YOLOv3 baseline has it (levels 256, 512, 512)."""

    def __init__(self, act: str):
        super().__init__(levels=3)
        self.stem = nn.Sequential(ConvBlock(3, 32, 3, act=act), *_residual_stage(32, 64, 1, act))
        stages = zip(self.stage_names, (128, 256, 512, 1024), (2, 8, 8, 4), strict=True)
        for name, width, count in stages:
            layers = _residual_stage(width // 2, width, count, act)
            if name == self.stage_names[-1]:
                layers += _spp_block(width, width // 2, act)
            setattr(self, name, nn.Sequential(*layers))


def _residual_stage(in_channels: int, channels: int, blocks: int, act: str) -> list[nn.Module]:
    down = ConvBlock(in_channels, channels, 3, 2, act=act)
    return [down, *(ResidualBlock(channels, act) for _ in range(blocks))]


def _spp_block(wide: int, narrow: int, act: str) -> list[nn.Module]:
    return [
        ConvBlock(wide, narrow, 1, act=act),
        ConvBlock(narrow, wide, 3, act=act),
        SPPBottleneck(wide, narrow, act),
        ConvBlock(narrow, wide, 3, act=act),
        ConvBlock(wide, narrow, 1, act=act),
    ]
