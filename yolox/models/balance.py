"""Filters of one norm: the same function, in which one learning rate suits every layer."""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch

from yolox.models.channels import filters, per_output
from yolox.models.copies import copied
from yolox.models.fuse import norm_pairs
from yolox.models.network import Network

Model = TypeVar("Model", bound=Network)

SMALLEST_NORM = 1e-6  # of filters that are scaled; smaller ones say nothing


@torch.no_grad()
def balance_filters(model: Model) -> Model:
    """A new model of the same outputs, every filter before a batch norm having the norm 1.

    A batch norm undoes the scale of the filter before it, so the scale is arbitrary; but how far a
    step of SGD or Adam turns a filter depends on it (Salimans 2016). Weights that were restored
    from a fused model, or solved by least squares, have scales that differ a thousandfold.
    """
    balanced = copied(model)
    for conv, norms in norm_pairs(balanced, "balanced").normed().items():
        _balance(balanced.get_submodule(conv), [balanced.get_submodule(norm) for norm in norms])
    return balanced


def _balance(conv: Any, norms: Sequence[Any]) -> None:
    """Scale filters, and what the batch norms know of their outputs, in place."""
    if any(bn.running_var is None or bn.weight is None for bn in norms):
        return
    norm = filters(conv).flatten(1).norm(dim=1)
    norm = torch.where(norm > SMALLEST_NORM, norm, torch.ones_like(norm))
    conv.weight.div_(per_output(conv, norm))
    if conv.bias is not None:
        conv.bias.div_(norm)
    for bn in norms:
        variance = bn.running_var / norm**2
        gain = ((variance + bn.eps) / (bn.running_var + bn.eps)).sqrt() * norm
        bn.weight.mul_(gain)
        bn.running_mean.div_(norm)
        bn.running_var.copy_(variance)
