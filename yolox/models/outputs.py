"""Shapes of what common operations give, for tensors without values (torch's meta device).

PyTorch tells them, too, but imports its compiler and an algebra system to do so (2 s), and looks
long at batch norms.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

FEATURE_DIMS = 4  # batch, channels, height, width
# One value in, one value out (a trailing underscore means in place).
ELEMENTWISE = {
    "silu",
    "relu",
    "hardswish",
    "leaky_relu",
    "sigmoid",
    "hardsigmoid",
    "hardtanh",
    "clamp",
    "clamp_min",
    "clamp_max",
    "neg",
    "exp",
    "sqrt",
    "gelu",
    "tanh",
    "elu",
    "mish",
    "softplus",
}
BINARY = {"add", "sub", "mul", "div", "maximum", "minimum"}


def known_output(name: str, func: Any, args: tuple[Any, ...]) -> Any:
    """The output of an operation on meta tensors; None for one that is left to PyTorch.

    Raises RuntimeError, as PyTorch does, for a batch norm of other channels.
    """
    in_place, plain = name.endswith("_"), name.rstrip("_")
    if "batch_norm" in name:
        _require_channels(args[0], args[1:5])
        same = [args[0].new_empty(args[0].shape) for _ in func._schema.returns]
        return tuple(same) if len(same) > 1 else same[0]
    if name == "convolution":
        return _convolved(*args[:9])
    if name == "max_pool2d_with_indices":
        return _pooled(*args)
    if name == "upsample_nearest2d" and args[0].dim() == FEATURE_DIMS and args[1]:
        return args[0].new_empty((*args[0].shape[:2], *args[1]))
    if name == "cat":
        return _joined(args[0], args[1] if len(args) > 1 else 0)
    alone = not any(isinstance(other, Tensor) for other in args[1:])
    if plain in ELEMENTWISE and args[0].is_floating_point() and alone:
        return args[0] if in_place else args[0].new_empty(args[0].shape)
    if plain in BINARY:
        return _combined(args[:2], in_place)
    return None


def _convolved(
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    _: Sequence[int],
    groups: int,
) -> Tensor | None:
    """What a convolution gives; None for what is left to PyTorch, mistakes among it."""
    if transposed or image.dim() != FEATURE_DIMS or image.dtype != weight.dtype:
        return None
    if any(len(pair) != 2 for pair in (stride, padding, dilation)):
        return None
    sides = _sides(image, weight.shape[2:], stride, padding, dilation)
    if image.shape[1] != weight.shape[1] * groups or min(sides) < 1:
        return None
    return image.new_empty((len(image), len(weight), *sides))


def _pooled(
    image: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    *others: Any,
) -> tuple[Tensor, Tensor] | None:
    """What a largest-value pooling gives; None for what is left to PyTorch."""
    stride = stride or kernel
    if others or image.dim() != FEATURE_DIMS:
        return None
    if any(len(pair) != 2 for pair in (kernel, stride, padding)):
        return None
    sides = _sides(image, kernel, stride, padding, (1, 1))
    if min(sides) < 1 or any(2 * pad > side for pad, side in zip(padding, kernel, strict=True)):
        return None
    shape = (*image.shape[:2], *sides)
    return image.new_empty(shape), image.new_empty(shape, dtype=torch.int64)


def _sides(
    image: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> list[int]:
    """Height and width of what a window that slides over an image gives."""
    return [
        (side + 2 * pad - dilate * (extent - 1) - 1) // step + 1
        for side, extent, step, pad, dilate in zip(
            image.shape[2:], kernel, stride, padding, dilation, strict=True
        )
    ]


def _joined(parts: Sequence[Tensor], dim: int) -> Tensor | None:
    """Tensors side by side; None for what is left to PyTorch, mistakes among it."""
    first = parts[0]
    if not 0 <= dim < first.dim():
        return None
    kinds = {(part.dtype, part.shape[:dim], part.shape[dim + 1 :]) for part in parts}
    if len(kinds) > 1 or any(part.dim() != first.dim() for part in parts):
        return None
    length = sum(part.shape[dim] for part in parts)
    return first.new_empty((*first.shape[:dim], length, *first.shape[dim + 1 :]))


def _combined(pair: Sequence[Any], in_place: bool) -> Tensor | None:
    """Two tensors value by value, or one and a number; None for what is left to PyTorch."""
    found = [item for item in pair if isinstance(item, Tensor)]
    if len({item.dtype for item in found}) > 1 or not found[0].is_floating_point():
        return None
    try:
        shape = np.broadcast_shapes(*(tuple(item.shape) for item in found))
    except ValueError:
        return None
    if not in_place:
        return found[0].new_empty(shape)
    return pair[0] if isinstance(pair[0], Tensor) and pair[0].shape == shape else None


def _require_channels(features: Tensor, values: Sequence[Any]) -> None:
    """Raises RuntimeError, as PyTorch does, where a batch norm has not a value per channel."""
    for value in values:
        if isinstance(value, Tensor) and value.shape != (features.shape[1],):
            raise RuntimeError(f"a batch norm of {len(value)} channels reads {features.shape[1]}")
