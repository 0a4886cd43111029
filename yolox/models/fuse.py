"""Batch norm folded into the convolution before it: the same function with fewer operations."""

import copy
from typing import TypeVar

import torch
from torch import nn

from yolox.models.blocks import ConvBlock
from yolox.ops.precision import to_float64

Model = TypeVar("Model", bound=nn.Module)


def fuse(model: Model) -> Model:
    """A new model in evaluation mode whose `ConvBlock`s have no batch norm of their own."""
    fused = copy.deepcopy(model).eval()
    for module in fused.modules():
        if isinstance(module, ConvBlock) and isinstance(module.bn, nn.BatchNorm2d):
            module.conv = fused_conv(module.conv, module.bn)
            module.bn = nn.Identity()
    return fused


def is_fused(model: nn.Module) -> bool:
    """Whether no batch norm is left in the model."""
    return not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@torch.no_grad()
def fused_conv(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution with bias that does what `conv` then `bn` (in evaluation mode) do."""
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError("a batch norm without running statistics cannot be fused")
    out = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride,  # type: ignore[arg-type]
        conv.padding, conv.dilation, conv.groups, bias=True,  # type: ignore[arg-type]
        device=conv.weight.device, dtype=conv.weight.dtype,
    )  # fmt: skip
    # On the CPU, where every device's tensors can be in float64 (MPS has none).
    gain, offset, mean, variance, weight = (
        to_float64(tensor.detach().cpu())
        for tensor in (bn.weight, bn.bias, bn.running_mean, bn.running_var, conv.weight)
    )
    scale = gain / (variance + bn.eps).sqrt()
    out.weight.copy_(weight * scale[:, None, None, None])
    shift = offset - mean * scale
    if conv.bias is not None:
        shift = shift + to_float64(conv.bias.detach().cpu()) * scale
    if out.bias is not None:
        out.bias.copy_(shift)
    return out
