"""Batch norm folded into the convolution before it: the same function with fewer operations."""

from typing import Any, TypeVar

import torch
from loguru import logger
from torch import Tensor, nn

from yolox.errors import ModelError
from yolox.models.channels import per_output
from yolox.models.copies import copied
from yolox.models.graph import Trace
from yolox.models.network import Network
from yolox.models.trace import trace
from yolox.ops.precision import to_float64

Model = TypeVar("Model", bound=Network)


def fuse(model: Model) -> Model:
    """A new model in evaluation mode, without the batch norms that read one convolution alone.

    The others stay: of a convolution that several of them read, or something else besides.
    """
    fused = copied(model).eval()
    new: dict[nn.Module, nn.Module] = {}
    for conv, norm in norm_pairs(fused, "fused").fusable().items():
        before, bn = fused.get_submodule(conv), fused.get_submodule(norm)
        if isinstance(bn, nn.BatchNorm2d) and bn.running_var is not None:
            new[before], new[bn] = fused_conv(before, bn), nn.Identity().eval()
    for parent in list(fused.modules()):
        for name, child in parent.named_children():
            if child in new:
                setattr(parent, name, new[child])
    return fused


def norm_pairs(model: Network, word: str) -> Trace:
    """The trace of a model; an empty one, with a warning, where it cannot be traced."""
    side = 2 * model.divisor
    try:
        return trace(model, (side, side))
    except ModelError as error:
        logger.warning("{}; nothing is {}", error, word)
        return Trace({}, set(), (side, side))


def is_fused(model: nn.Module) -> bool:
    """Whether no batch norm is left in the model."""
    return not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@torch.no_grad()
def fused_conv(conv: nn.Module, bn: nn.BatchNorm2d) -> nn.Module:
    """One convolution with bias that does what `conv` then `bn` (in evaluation mode) do.

    conv: an `nn.Conv2d`, `nn.ConvTranspose2d` or `DeformConv2d`.
    """
    scale, shift = norm_affine(bn)
    fused = copied(conv)
    out: Any = fused
    if out.bias is not None:
        shift = shift + _exact(out.bias) * scale
    out.weight.copy_(_exact(out.weight) * per_output(conv, scale))
    out.bias = nn.Parameter(
        shift.to(out.weight.dtype).to(out.weight.device), out.weight.requires_grad
    )
    return fused


def norm_affine(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """What a batch norm in evaluation mode multiplies each channel by, and then adds, in float64.

    Raises ValueError for one that has no running statistics.
    """
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError("a batch norm without running statistics cannot be fused")
    mean, variance = _exact(bn.running_mean), _exact(bn.running_var)
    gain = torch.ones_like(mean) if bn.weight is None else _exact(bn.weight)
    offset = torch.zeros_like(mean) if bn.bias is None else _exact(bn.bias)
    scale = gain / (variance + bn.eps).sqrt()
    return scale, offset - mean * scale


def _exact(tensor: Tensor) -> Tensor:
    """In float64 on the CPU, where every device's tensors can be (MPS has no float64)."""
    return to_float64(tensor.detach().cpu())
