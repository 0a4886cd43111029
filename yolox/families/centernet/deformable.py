"""Deformable convolutions: torchvision's kernel, and the same in operations that runtimes have."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import DeformConv2d, deform_conv2d

KERNEL = 3


class DeformableConv(DeformConv2d):
    """A modulated deformable 3x3 convolution (Zhu 2019), in float32 at least.

    Torchvision's kernels exist in no lower precision on the CPU. OpenVINO cannot read ONNX's
    operator, which is younger than the opset that is written, too: exported, it is a sampling of
    the image at nine points of every cell and a 1x1 convolution over what was sampled.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, KERNEL, padding=KERNEL // 2, bias=False)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, C, H, W], offset [B, 18, H, W] in cells (y, x), mask [B, 9, H, W] -> [B, O, H, W]."""
        kind = x.dtype if x.dtype == torch.float64 else torch.float32
        bias = None if self.bias is None else self.bias.to(kind)
        given = (x.to(kind), offset.to(kind), None if mask is None else mask.to(kind))
        if torch.onnx.is_in_onnx_export():
            out = by_sampling(*given, self.weight.to(kind), bias)
        else:
            image, places, share = given
            weight = self.weight.to(kind)
            out = deform_conv2d(image, places, weight, bias, padding=self.padding, mask=share)
        return out.to(x.dtype)


def by_sampling(
    x: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """What torchvision's `deform_conv2d` gives with a 3x3 kernel, stride 1 and padding 1."""
    height, width = x.shape[-2:]
    points = KERNEL * KERNEL
    moved = offset.unflatten(1, (points, 2))
    y, x_places = moved[:, :, 0], moved[:, :, 1]  # [B, 9, H, W]
    steps = torch.arange(KERNEL, device=x.device, dtype=x.dtype) - KERNEL // 2
    rows = torch.arange(height, device=x.device, dtype=x.dtype)[:, None]
    columns = torch.arange(width, device=x.device, dtype=x.dtype)
    y = y + steps.repeat_interleave(KERNEL)[:, None, None] + rows
    x_places = x_places + steps.repeat(KERNEL)[:, None, None] + columns
    # `grid_sample` counts from the borders of the outer cells, -1 to 1
    grid = torch.stack([(2 * x_places + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    found = F.grid_sample(x, grid.flatten(1, 2), padding_mode="zeros", align_corners=False)
    found = found.unflatten(2, (points, height))  # [B, C, 9, H, W]
    if mask is not None:
        found = found * mask[:, None]
    return F.conv2d(found.flatten(1, 2), weight.flatten(1)[:, :, None, None], bias)
