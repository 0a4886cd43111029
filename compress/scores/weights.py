"""How much each weight matters: one function per criterion, all with one signature.

Each takes weights by name, and what was seen of the layers they belong to, and returns scores of
the same shapes that can be compared across layers: a global threshold decides what is kept.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from compress.fit.moments import Spread
from yolox.errors import UsageError
from yolox.ops.precision import to_float64


@dataclass(frozen=True)
class Seen:
    """What calibration images show, looked at on demand; each by layer name.

    spreads: variances of what layers read and answer. layer_weights: how much an error in a
    layer's answers matters to the model's outputs.
    """

    spreads: Callable[[], Mapping[str, Spread]]
    layer_weights: Callable[[], Mapping[str, float]]


Criterion = Callable[[Mapping[str, Tensor], Seen | None], dict[str, Tensor]]

MAGNITUDE_CLAMP = 1.0  # of the YOLOX-M-P6 source system: larger weights count as equal
TINY = 1e-12


def magnitude(weights: Mapping[str, Tensor], seen: Seen | None = None) -> dict[str, Tensor]:
    """|w|, clamped: the source system's criterion. Layers with small weights lose the most."""
    return {name: w.detach().abs().clamp(max=MAGNITUDE_CLAMP) for name, w in weights.items()}


def layer_rank(weights: Mapping[str, Tensor], seen: Seen | None = None) -> dict[str, Tensor]:
    """The rank of |w| within its layer, from 0 to 1: every layer loses the same share."""
    return {name: _ranks(w) / w.numel() for name, w in weights.items()}


def lamp(weights: Mapping[str, Tensor], seen: Seen | None = None) -> dict[str, Tensor]:
    """w^2 over the sum of all squares in the layer that are not smaller (Lee 2021, LAMP)."""
    scores = {}
    for name, weight in weights.items():
        squares = to_float64(weight.detach()).flatten() ** 2
        order = squares.argsort()
        ordered = squares[order]
        larger = ordered.flip(0).cumsum(0).flip(0)
        score = torch.empty_like(squares)
        score[order] = ordered / larger.clamp(min=torch.finfo(torch.float64).tiny)
        scores[name] = score.reshape(weight.shape)
    return scores


def activation(weights: Mapping[str, Tensor], seen: Seen | None = None) -> dict[str, Tensor]:
    """w^2 times the variance of what it reads, over the variance of what its output answers.

    That is the share of an answer that is lost with one weight. Weight times input is Wanda's
    criterion (Sun 2023); the division makes outputs of all layers comparable. Raises UsageError
    without calibration images.
    """
    if seen is None:
        raise UsageError("criterion activation needs calibration images")
    spreads = seen.spreads()
    scores = {}
    for name, weight in weights.items():
        squares = to_float64(weight.detach().cpu()) ** 2
        spread = spreads.get(name.removesuffix(".weight"))
        if spread is None:  # as if all that it reads were alike
            scores[name] = squares / squares.flatten(1).sum(1).clamp(min=TINY)[:, None, None, None]
            continue
        inputs, answers = (variance.cpu() for variance in spread.variances())
        rows = squares.reshape(len(inputs), -1, inputs.shape[-1])
        shares = rows * inputs[:, None, :] / answers[:, :, None].clamp(min=TINY)
        scores[name] = shares.reshape(weight.shape)
    return scores


def output(weights: Mapping[str, Tensor], seen: Seen | None = None) -> dict[str, Tensor]:
    """`activation` times how much an error in the layer's answers matters to the model's outputs.

    Raises UsageError without calibration images.
    """
    shares = activation(weights, seen)
    assert seen is not None  # or `activation` had raised
    matters = seen.layer_weights()
    return {name: share * matters[name.removesuffix(".weight")] for name, share in shares.items()}


LOOKING = ("activation", "output")  # criteria that need calibration images

CRITERIA: dict[str, Criterion] = {
    "magnitude": magnitude, "layer": layer_rank, "lamp": lamp,
    "activation": activation, "output": output,
}  # fmt: skip


def _ranks(weight: Tensor) -> Tensor:
    flat = weight.detach().cpu().abs().flatten()
    ranks = torch.empty(flat.numel(), dtype=torch.float64)
    ranks[flat.argsort()] = torch.arange(flat.numel(), dtype=torch.float64)
    return ranks.reshape(weight.shape)
