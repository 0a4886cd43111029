"""How much each weight matters: one function per criterion, all with one signature.

Each takes weights by name, and what was seen of the layers they belong to, and returns scores of
the same shapes that can be compared across layers: a global threshold decides what is kept.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from yolox.compress.layer_statistics import LayerVariances
from yolox.errors import UsageError
from yolox.families.base import Distance
from yolox.ops.precision import to_float64


@dataclass(frozen=True)
class CalibrationEvidence:
    """What calibration images show, looked at on demand; each by layer name.

    layer_variances: variances of what layers read and put out. layer_importance: how much an
    error in what a layer puts out matters to the model's outputs.
    """

    layer_variances: Callable[[], Mapping[str, LayerVariances]]
    layer_importance: Callable[[], Mapping[str, float]]


Criterion = Callable[[Mapping[str, Tensor], CalibrationEvidence | None], dict[str, Tensor]]

MAGNITUDE_CLAMP = 1.0  # of the YOLOX-M-P6 source system: larger weights count as equal
TINY = 1e-12
SENSITIVITY_IMAGES = 8
NOISE = 0.05  # variance of the noise, as a share of the variance of a layer's outputs


def magnitude(
    weights: Mapping[str, Tensor], evidence: CalibrationEvidence | None = None
) -> dict[str, Tensor]:
    """|w|, clamped: the source system's criterion. Layers with small weights lose the most."""
    return {name: w.detach().abs().clamp(max=MAGNITUDE_CLAMP) for name, w in weights.items()}


def layer_rank(
    weights: Mapping[str, Tensor], evidence: CalibrationEvidence | None = None
) -> dict[str, Tensor]:
    """The rank of |w| within its layer, from 0 to 1: every layer loses the same share."""
    return {name: _ranks(w) / w.numel() for name, w in weights.items()}


def lamp(
    weights: Mapping[str, Tensor], evidence: CalibrationEvidence | None = None
) -> dict[str, Tensor]:
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


def activation(
    weights: Mapping[str, Tensor], evidence: CalibrationEvidence | None = None
) -> dict[str, Tensor]:
    """w^2 times the variance of what it reads, over the variance of its output.

    That is the share of an output that is lost with one weight. Weight times input is Wanda's
    criterion (Sun 2023); the division makes outputs of all layers comparable. Raises UsageError
    without calibration images.
    """
    if evidence is None:
        raise UsageError("criterion activation needs calibration images")
    layer_variances = evidence.layer_variances()
    scores = {}
    for name, weight in weights.items():
        squares = to_float64(weight.detach().cpu()) ** 2
        spread = layer_variances.get(name.removesuffix(".weight"))
        if spread is None:  # as if all that it reads were alike
            scores[name] = squares / squares.flatten(1).sum(1).clamp(min=TINY)[:, None, None, None]
            continue
        inputs, outputs = (variance.cpu() for variance in spread.variances())
        rows = squares.reshape(len(inputs), -1, inputs.shape[-1])
        shares = rows * inputs[:, None, :] / outputs[:, :, None].clamp(min=TINY)
        scores[name] = shares.reshape(weight.shape)
    return scores


def output(
    weights: Mapping[str, Tensor], evidence: CalibrationEvidence | None = None
) -> dict[str, Tensor]:
    """`activation` times how much an error in the layer's outputs matters to the model's outputs.

    Raises UsageError without calibration images.
    """
    shares = activation(weights, evidence)
    assert evidence is not None  # or `activation` had raised
    matters = evidence.layer_importance()
    return {name: share * matters[name.removesuffix(".weight")] for name, share in shares.items()}


CRITERIA: dict[str, Criterion] = {
    "magnitude": magnitude,
    "layer": layer_rank,
    "lamp": lamp,
    "activation": activation,
    "output": output,
}


def _ranks(weight: Tensor) -> Tensor:
    flat = weight.detach().cpu().abs().flatten()
    ranks = torch.empty(flat.numel(), dtype=torch.float64)
    ranks[flat.argsort()] = torch.arange(flat.numel(), dtype=torch.float64)
    return ranks.reshape(weight.shape)


@torch.no_grad()
def layer_importance(
    model: Any,
    names: Sequence[str],
    batches: Callable[[], Iterator[Tensor]],
    distance: Distance,
    seed: int = 0,
) -> dict[str, float]:
    """By convolution: the loss of outputs per share of variance of an error in its outputs.

    Noise is added to the outputs of one layer at a time; `distance` says how far the predictions
    then are from those without noise, the mean over images.
    """
    images = [batch.contiguous(memory_format=torch.channels_last) for batch in batches()]
    wanted = [model.raw(batch) for batch in images]
    found = {}
    for number, name in enumerate(names):
        generator = torch.Generator().manual_seed(seed + number)

        def disturb(layer: nn.Module, inputs: Any, y: Tensor, g: Any = generator) -> Tensor:
            spread = y.var(dim=(0, 2, 3), keepdim=True).mul(NOISE).sqrt()
            return y + spread * torch.randn(y.shape, generator=g).to(y)

        handle = model.get_submodule(name).register_forward_hook(disturb)
        try:
            losses = [
                float(distance(model.raw(batch), right))
                for batch, right in zip(images, wanted, strict=True)
            ]
        finally:
            handle.remove()
        found[name] = sum(losses) / len(losses) / NOISE
    return found
