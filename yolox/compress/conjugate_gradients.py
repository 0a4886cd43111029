"""Conjugate gradients (Hestenes 1952) for many right-hand sides at once."""

from collections.abc import Callable

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]


def conjugate_gradients(
    times: Map, inverse: Map, start: Tensor, rest: Tensor, limit: Tensor, most: int
) -> Tensor:
    """Solve for every column [..., D, O] on its own, from `start`; returns the solutions.

    times: the system, symmetric and positive. inverse: what is nearly its inverse. rest: what the
    start leaves of the right-hand sides. Ends when no column's rest is longer than its limit
    [..., 1, O], or after `most` steps.
    """
    result = start
    towards = inverse(rest)
    power = _product(rest, towards)
    for _ in range(most):
        if bool((rest.norm(dim=-2, keepdim=True) <= limit).all()):
            break
        moved = times(towards)
        length = _ratio(power, _product(towards, moved))
        result = result + length * towards
        rest = rest - length * moved
        scaled = inverse(rest)
        before, power = power, _product(rest, scaled)
        towards = scaled + _ratio(power, before) * towards
    return result


def _product(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum(dim=-2, keepdim=True)


def _ratio(over: Tensor, under: Tensor) -> Tensor:
    """Zero, so that a column stays as it is, where rounding has left nothing positive."""
    return torch.where((over > 0) & (under > 0), over / under, 0.0)
