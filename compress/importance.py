"""How much each weight matters: one function per criterion, all with one signature.

Each takes weights by name and returns scores of the same shapes that can be compared across
layers: a global threshold on them decides what is kept.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Criterion = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]

MAGNITUDE_CLAMP = 1.0  # of the YOLOX-M-P6 source system: larger weights count as equal


def magnitude(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """|w|, clamped: the source system's criterion. Layers with small weights lose the most."""
    return {name: w.detach().abs().clamp(max=MAGNITUDE_CLAMP) for name, w in weights.items()}


def layer_rank(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The rank of |w| within its layer, from 0 to 1: every layer loses the same share."""
    return {name: _ranks(w) / w.numel() for name, w in weights.items()}


def lamp(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """w^2 over the sum of all squares in the layer that are not smaller (Lee 2021, LAMP)."""
    scores = {}
    for name, weight in weights.items():
        squares = weight.detach().double().flatten() ** 2
        order = squares.argsort()
        ordered = squares[order]
        larger = ordered.flip(0).cumsum(0).flip(0)
        score = torch.empty_like(squares)
        score[order] = ordered / larger.clamp(min=torch.finfo(torch.float64).tiny)
        scores[name] = score.reshape(weight.shape)
    return scores


CRITERIA: dict[str, Criterion] = {"magnitude": magnitude, "layer": layer_rank, "lamp": lamp}


def _ranks(weight: Tensor) -> Tensor:
    flat = weight.detach().abs().flatten()
    ranks = torch.empty(flat.numel(), dtype=torch.float64)
    ranks[flat.argsort()] = torch.arange(flat.numel(), dtype=torch.float64)
    return ranks.reshape(weight.shape)
