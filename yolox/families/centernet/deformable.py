"""Deformable convolutions: torchvision's kernel, and the same in operations that runtimes have."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import DeformConv2d, deform_conv2d

KERNEL = 3
KERNEL_DEVICES = ("cuda", "meta")  # where torchvision's kernel runs, or is named in a trace


class DeformableConv(DeformConv2d):
    """A modulated deformable 3x3 convolution (Zhu 2019).

    Torchvision's kernel runs on CUDA. Elsewhere, and when exported, it is a sampling of the image
    at nine points of every cell and a 1x1 convolution over what was sampled: torchvision's kernel
    for the CPU takes six to sixteen times as long to train (`benchmarks/deformable.py`) and knows
    float32 only, and OpenVINO cannot read the operator that ONNX has for it since opset 19.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, KERNEL, padding=KERNEL // 2, bias=False)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, C, H, W], offset [B, 18, H, W] in cells (y, x), mask [B, 9, H, W] -> [B, O, H, W]."""
        kind = x.dtype if x.dtype == torch.float64 else torch.float32
        image, places, weight = x.to(kind), offset.to(kind), self.weight.to(kind)
        share = None if mask is None else mask.to(kind)
        bias = None if self.bias is None else self.bias.to(kind)
        out: Tensor
        if x.device.type in KERNEL_DEVICES and not torch.onnx.is_in_onnx_export():
            out = deform_conv2d(image, places, weight, bias, padding=self.padding, mask=share)
        else:
            out = by_sampling(image, places, share, weight, bias)
        return out.to(x.dtype)


def by_sampling(
    x: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """What torchvision's `deform_conv2d` gives with a 3x3 kernel, stride 1 and padding 1."""
    height, width = x.shape[-2:]
    points = KERNEL * KERNEL
    moved = offset.reshape(-1, points, 2, height, width)
    y, x_places = moved[:, :, 0], moved[:, :, 1]  # [B, 9, H, W]
    steps = torch.arange(KERNEL, device=x.device, dtype=x.dtype) - KERNEL // 2
    rows = torch.arange(height, device=x.device, dtype=x.dtype)[:, None]
    columns = torch.arange(width, device=x.device, dtype=x.dtype)
    y = y + steps.repeat_interleave(KERNEL)[:, None, None] + rows
    x_places = x_places + steps.repeat(KERNEL)[:, None, None] + columns
    # `grid_sample` counts from the borders of the outer cells, -1 to 1
    grid = torch.stack([(2 * x_places + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    found = F.grid_sample(x, grid.flatten(1, 2), padding_mode="zeros", align_corners=False)
    found = found.reshape(-1, x.shape[1], points, height, width)
    if mask is not None:
        found = found * mask[:, None]
    return F.conv2d(found.flatten(1, 2), weight.flatten(1)[:, :, None, None], bias)
