"""Least squares in which an error counts by how much of it the activation lets through.

Behind a convolution and its batch norm, SiLU or ReLU make most negative values nearly zero. What
the convolution gives there need not be right, and its few weights serve the other positions better
(after Zhang 2016, who fits responses behind ReLU). The square of an error is multiplied by the
activation's slope at the dense model's value. Every output has weights of its own, so there is a
system of equations for each; all are solved together by conjugate gradients, which never form them,
preconditioned by the system that has no weights.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from yolox.compress.conjugate_gradients import Map, conjugate_gradients
from yolox.models.graph import Operation

LEAST_WEIGHT = 0.1  # of an error, whatever the activation does to it
LARGEST_SAMPLES = 1.5e8  # bytes of what one layer reads, or puts out, that are held at once
NEAR, MOST_STEPS = 1e-2, 30
LEAST_DIAGONAL = 1e-20
ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "silu": F.silu,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "hardswish": F.hardswish,
    "mish": F.mish,
}


def slopes(activation: Operation, values: Tensor) -> Tensor:
    """How much of a small error each value lets through, LEAST_WEIGHT at the least."""
    name, numbers = activation
    with torch.enable_grad():
        at = values.detach().requires_grad_()
        (found,) = torch.autograd.grad(ACTIVATIONS[name](at, *numbers).sum(), at)
    return found.abs().clamp(min=LEAST_WEIGHT)


@dataclass
class ActivatedSamples:
    """What a convolution reads and should put out, and what its outputs go through.

    gain, offset: [outputs] of the batch norm in between (1 and 0 where there is none).
    rows: samples [blocks, rows, D] that there will be altogether; of too many, some are drawn.
    """

    activation: Operation
    gain: Tensor
    offset: Tensor
    rows: int
    _x: list[Tensor] = field(default_factory=list)
    _y: list[Tensor] = field(default_factory=list)

    def add(self, x: Tensor, y: Tensor) -> None:
        """x: [blocks, S, D]; y: [blocks, S, O]; see `LayerStatistics`."""
        blocks, count, width = x.shape
        share = LARGEST_SAMPLES / (4 * blocks * max(width, y.shape[2]) * self.rows)
        if share < 1:
            generator = torch.Generator().manual_seed(len(self._x))
            drawn = torch.randperm(count, generator=generator)[: max(int(share * count), 1)]
            x, y = x[:, drawn.to(x.device)], y[:, drawn.to(y.device)]
        self._x.append(x.float())
        self._y.append(y.float())

    @property
    def count(self) -> int:
        """Samples of each block that are kept."""
        return sum(part.shape[1] for part in self._x)

    @torch.no_grad()
    def refit(
        self, start: Tensor, system: Tensor, ridge: Tensor, allowed: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Maps [blocks, D, O] near `start`, and the constants [blocks, 1, O] beside them.

        system: [blocks, D, D] that `start` solves. ridge: [blocks, 1, 1], what draws towards
        `start`. allowed: [blocks, D, O], the weights that need not be zero (None: all).
        """
        x, y = torch.cat(self._x, dim=1), torch.cat(self._y, dim=1)
        shape = (len(y), 1, y.shape[2])
        gain, offset = (values.to(y.device).reshape(shape) for values in (self.gain, self.offset))
        weight = slopes(self.activation, y * gain + offset)
        weight /= weight.sum(dim=1, keepdim=True)
        first, ridge = start.float().to(x.device), ridge.float().to(x.device)
        inside = None if allowed is None else allowed.to(x.device)
        inverse = _inverse(system, inside, x.device)

        def centred(outputs: Tensor) -> Tensor:
            return outputs - (weight * outputs).sum(dim=1, keepdim=True)

        def pulled(outputs: Tensor) -> Tensor:
            found = x.mT @ (weight * centred(outputs))
            return found if inside is None else torch.where(inside, found, 0.0)

        rest = pulled(y - x @ first)
        change = conjugate_gradients(
            lambda towards: pulled(x @ towards) + ridge * towards,
            inverse,
            torch.zeros_like(first),
            rest,
            NEAR * rest.norm(dim=1, keepdim=True),
            MOST_STEPS,
        )
        result = torch.where(change.isfinite(), first + change, first)
        constant = (weight * (y - x @ result)).sum(dim=1, keepdim=True)
        return result.cpu().to(start), constant.cpu().to(start)


def _inverse(system: Tensor, allowed: Tensor | None, device: torch.device) -> Map:
    """Solves a system for float32 right-hand sides on a device.

    By its diagonal alone within masks, and where rounding has left it without a solution.
    """
    if allowed is None:
        factor, failed = torch.linalg.cholesky_ex(system)
        if not bool(failed.any()):
            lower = factor.float().to(device)
            return lambda rest: torch.cholesky_solve(rest, lower)
    diagonal = system.diagonal(dim1=-2, dim2=-1)[:, :, None].float().to(device)
    diagonal = diagonal.abs().clamp(min=LEAST_DIAGONAL)
    return lambda rest: rest / diagonal
