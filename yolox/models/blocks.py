"""Convolution blocks of the YOLOX family. Attribute names are YOLOX's checkpoint keys."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BN_EPS = 1e-3  # YOLOX sets both on every BatchNorm after building
BN_MOMENTUM = 0.03
LEAKY_SLOPE = 0.1  # YOLOv3


class SiLU(nn.SiLU):
    """In place without gradients alone: with them, PyTorch would copy the input to keep it."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """Any shape."""
        return F.silu(input, inplace=not torch.is_grad_enabled())


class Hardswish(nn.Hardswish):
    """In place without gradients alone, as `SiLU`."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """Any shape."""
        return F.hardswish(input, inplace=not torch.is_grad_enabled())


def activation(name: str) -> nn.Module:
    """A fresh activation layer by its spec name."""
    layers: dict[str, Callable[[], nn.Module]] = {
        "silu": SiLU,
        "relu": lambda: nn.ReLU(inplace=True),
        "lrelu": lambda: nn.LeakyReLU(LEAKY_SLOPE, inplace=True),
        "hswish": Hardswish,
        "none": nn.Identity,
    }
    return layers[name]()


class ConvBlock(nn.Module):
    """Convolution, batch norm, activation. `bn` is an Identity once the block is fused."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        act: str = "silu",
    ):
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False
        )
        self.bn: nn.Module = nn.BatchNorm2d(out_channels, eps=BN_EPS, momentum=BN_MOMENTUM)
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, H, W] -> [B, C_out, H / stride, W / stride]."""
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class SeparableConv(nn.Module):
    """A depthwise convolution followed by a pointwise one, each with its own batch norm."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        *,
        act: str = "silu",
    ):
        super().__init__()
        self.dconv = ConvBlock(
            in_channels, in_channels, kernel, stride, groups=in_channels, act=act
        )
        self.pconv = ConvBlock(in_channels, out_channels, 1, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, H, W] -> [B, C_out, H / stride, W / stride]."""
        out: Tensor = self.pconv(self.dconv(x))
        return out


class MixedConv(nn.Module):
    """A depthwise convolution whose channels are split into chunks of different kernels (Tan 2019).

    Chunk i has the kernel 2 i + 3. Each has a batch norm of its own, which is the same as one
    behind all of them, and can be folded in.
    """

    def __init__(self, channels: int, chunks: int, stride: int = 1, *, act: str = "silu"):
        super().__init__()
        self.parts = nn.ModuleList(
            ConvBlock(size, size, 2 * number + 3, stride, groups=size, act=act)
            for number, size in enumerate(mixed_sizes(channels, chunks))
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H / stride, W / stride]."""
        parts: Sequence[ConvBlock] = self.parts  # type: ignore[assignment]
        chunks = torch.split(x, [part.conv.in_channels for part in parts], dim=1)
        return torch.cat([part(c) for part, c in zip(parts, chunks, strict=True)], dim=1)


def mixed_sizes(channels: int, chunks: int) -> list[int]:
    """Channels of each chunk: all the same but the last, which takes the rest.

    Raises ValueError where nothing is left for the last.
    """
    size = math.ceil(channels / chunks)
    last = channels - size * (chunks - 1)
    if last < 1:
        raise ValueError(f"{channels} channels cannot be split into {chunks} chunks of {size}")
    return [size] * (chunks - 1) + [last]


KINDS = ("dense", "separable", "depthwise", "mixed")
LARGEST_KERNEL = 31
MOST_CHUNKS = 8


class ConvKind:
    """What stands for a convolution in one part of a network, as text: KIND-SIZE.

    'dense-K' and 'separable-K' have the kernel K; so has 'depthwise-K', which has no pointwise
    convolution behind it: with more outputs than inputs, each input has several. 'mixed-N' is a
    depthwise convolution of N chunks of different kernels. Raises ValueError for other text.
    """

    def __init__(self, text: str):
        kind, _, size = text.partition("-")
        if kind not in KINDS or not size.isdecimal():
            raise ValueError(f"{text!r} is no convolution: KIND-SIZE, KIND of {', '.join(KINDS)}")
        self.kind, self.size = kind, int(size)
        if kind == "mixed" and not 1 <= self.size <= MOST_CHUNKS:
            raise ValueError(f"{text!r}: between 1 and {MOST_CHUNKS} chunks are possible")
        if kind != "mixed" and (self.size % 2 == 0 or self.size > LARGEST_KERNEL):
            raise ValueError(f"{text!r}: kernels are odd and at most {LARGEST_KERNEL}")

    def check(self, in_channels: int, out_channels: int) -> None:
        """Raises ValueError where the kind cannot make so many channels of so many."""
        if self.kind == "mixed":
            mixed_sizes(in_channels, self.size)
        wanted = {"mixed": in_channels == out_channels, "depthwise": not out_channels % in_channels}
        if not wanted.get(self.kind, True):
            raise ValueError(
                f"{self.kind}-{self.size} cannot make {out_channels} channels of {in_channels}"
            )

    def build(
        self, in_channels: int, out_channels: int, stride: int = 1, *, act: str = "silu"
    ) -> nn.Module:
        """A fresh one. Raises ValueError like `check`."""
        self.check(in_channels, out_channels)
        if self.kind == "mixed":
            return MixedConv(in_channels, self.size, stride, act=act)
        if self.kind == "separable":
            return SeparableConv(in_channels, out_channels, self.size, stride, act=act)
        groups = in_channels if self.kind == "depthwise" else 1
        return ConvBlock(in_channels, out_channels, self.size, stride, groups=groups, act=act)


class Bottleneck(nn.Module):
    """1x1 then `conv`, with a residual connection where asked (channels stay the same)."""

    def __init__(self, channels: int, shortcut: bool, conv: ConvKind, act: str):
        super().__init__()
        self.conv1 = ConvBlock(channels, channels, 1, act=act)
        self.conv2 = conv.build(channels, channels, act=act)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        out: Tensor = self.conv2(self.conv1(x))
        return out + x if self.shortcut else out


class CSPLayer(nn.Module):
    """Cross-stage-partial layer: bottlenecks on one branch, a 1x1 shortcut on the other.

    rest: the shortcut branch keeps `in - hidden` channels (the YOLOX-M-P6 source system) rather
    than `hidden` (YOLOX), and the closing convolution reads `in` channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        blocks: int,
        *,
        shortcut: bool,
        conv: ConvKind,
        act: str,
        rest: bool = False,
    ):
        super().__init__()
        hidden = out_channels // 2
        side = in_channels - hidden if rest else hidden
        self.conv1 = ConvBlock(in_channels, hidden, 1, act=act)
        self.conv2 = ConvBlock(in_channels, side, 1, act=act)
        self.conv3 = ConvBlock(hidden + side, out_channels, 1, act=act)
        self.m = nn.Sequential(*(Bottleneck(hidden, shortcut, conv, act) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, H, W] -> [B, C_out, H, W]."""
        out: Tensor = self.conv3(torch.cat([self.m(self.conv1(x)), self.conv2(x)], dim=1))
        return out


class SPPBottleneck(nn.Module):
    """Spatial pyramid pooling: max-pools of several sizes next to the input."""

    def __init__(
        self, in_channels: int, out_channels: int, act: str, kernels: tuple[int, ...] = (5, 9, 13)
    ):
        super().__init__()
        hidden = in_channels // 2
        self.conv1 = ConvBlock(in_channels, hidden, 1, act=act)
        self.m = nn.ModuleList(nn.MaxPool2d(k, stride=1, padding=k // 2) for k in kernels)
        self.conv2 = ConvBlock(hidden * (len(kernels) + 1), out_channels, 1, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, H, W] -> [B, C_out, H, W]."""
        x = self.conv1(x)
        out: Tensor = self.conv2(torch.cat([x, *(pool(x) for pool in self.m)], dim=1))
        return out


class Focus(nn.Module):
    """Space to depth by 2, then a convolution: the stem of YOLOX."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, act: str):
        super().__init__()
        self.conv = ConvBlock(in_channels * 4, out_channels, kernel, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C_out, H / 2, W / 2].

        The four sub-images are concatenated as top-left, bottom-left, top-right, bottom-right.
        """
        top, bottom = x[..., ::2, :], x[..., 1::2, :]
        patches = [top[..., ::2], bottom[..., ::2], top[..., 1::2], bottom[..., 1::2]]
        out: Tensor = self.conv(torch.cat(patches, dim=1))
        return out


class ResidualBlock(nn.Module):
    """Darknet-53's residual block: 1x1 to half the channels, 3x3 back, plus the input."""

    def __init__(self, channels: int, act: str):
        super().__init__()
        self.layer1 = ConvBlock(channels, channels // 2, 1, act=act)
        self.layer2 = ConvBlock(channels // 2, channels, 3, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        out: Tensor = self.layer2(self.layer1(x))
        return x + out
