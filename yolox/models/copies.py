"""Copies of modules, several times faster than `copy.deepcopy` alone makes them."""

import copy
from collections import OrderedDict
from typing import Any, TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def copied(module: Module) -> Module:
    """A deep copy. Most of `copy.deepcopy`'s time goes into dictionaries of hooks without any."""
    return copy.deepcopy(module, _hooks(module))


def copied_without_values(module: Module) -> Module:
    """A deep copy on torch's meta device: shapes and types, no memory for weights."""
    memo = _hooks(module)
    for part in module.modules():
        for parameter in part.parameters(recurse=False):
            empty = torch.empty_like(parameter, device="meta")
            memo[id(parameter)] = nn.Parameter(empty, parameter.requires_grad)
        for buffer in part.buffers(recurse=False):
            memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(module, memo).to("meta")


def _hooks(module: nn.Module) -> dict[int, Any]:
    """A memo for `copy.deepcopy` that has the copies of all empty dictionaries of hooks."""
    return {
        id(value): OrderedDict()
        for part in module.modules()
        for value in vars(part).values()
        if type(value) is OrderedDict and not value
    }
