"""Filters of one norm: the same function, in which one learning rate suits every layer."""

import copy
from typing import TypeVar

import torch
from torch import nn

from yolox.models.blocks import ConvBlock

Model = TypeVar("Model", bound=nn.Module)

SMALLEST_NORM = 1e-6  # of filters that are scaled; smaller ones say nothing


@torch.no_grad()
def balance_filters(model: Model) -> Model:
    """A new model that answers alike, every filter before a batch norm having the norm 1.

    A batch norm undoes the scale of the filter before it, so the scale is arbitrary; but how far a
    step of SGD or Adam turns a filter depends on it (Salimans 2016). Weights that were restored
    from a fused model, or solved by least squares, have scales that differ a thousandfold.
    """
    balanced = copy.deepcopy(model)
    for block in balanced.modules():
        if isinstance(block, ConvBlock) and isinstance(block.bn, nn.BatchNorm2d):
            _balance(block.conv, block.bn)
    return balanced


def _balance(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> None:
    """Scale filters, and what the batch norm knows of their answers, in place."""
    assert bn.running_mean is not None
    assert bn.running_var is not None
    norm = conv.weight.flatten(1).norm(dim=1)
    norm = torch.where(norm > SMALLEST_NORM, norm, torch.ones_like(norm))
    conv.weight.div_(norm[:, None, None, None])
    if conv.bias is not None:
        conv.bias.div_(norm)
    variance = bn.running_var / norm**2
    gain = ((variance + bn.eps) / (bn.running_var + bn.eps)).sqrt() * norm
    bn.weight.mul_(gain)
    bn.running_mean.div_(norm)
    bn.running_var.copy_(variance)
