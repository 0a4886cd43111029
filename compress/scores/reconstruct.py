"""The criterion that looks at outputs: what a unit's readers cannot make good once it is gone.

For a convolution y = W x the least-squares error of doing without some inputs, the others solved
anew, has a closed form in the inverse covariance of x (optimal brain surgeon, Hassibi 1993). Units
leave greedily, a few at a time, after which the inverse is brought up to date.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from compress.fit.moments import Answers, Moments, joint_moments
from compress.structure.groups import ChannelGroup, Groups

RIDGE = 1e-3  # of the mean variance of what a layer reads
ROUNDS = 24  # in which the units of a group leave
LARGEST_SUMS = 1e9  # bytes of moments that are held at once


def unit_errors(
    model: nn.Module,
    groups: Groups,
    batches: Callable[[], Iterator[Tensor]],
    weights: Mapping[str, float] | None = None,
) -> dict[str, Tensor]:
    """[units] by group: the error that each unit adds when it leaves, in the best order.

    Errors are shares of the variance of what a convolution answers, summed over the convolutions
    that read the group. weights: how much such an error matters, by convolution (default: alike).
    """
    readers = {member.layer for group in groups.groups for member in group.consumers}
    names = [name for name in groups.trace.layers if name in readers]
    answered = Answers(model, names, batches)
    systems: dict[str, _System] = {}
    for chunk in _chunks(model, names):
        found = joint_moments(model, answered, dict.fromkeys(chunk), batches())
        for name in chunk:
            systems[name] = _System(model.get_submodule(name), found[name])
    importance = weights or {}
    return {group.name: _errors(group, systems, importance) for group in groups.groups}


def _chunks(model: nn.Module, names: list[str]) -> Iterator[list[str]]:
    """Layers whose moments fit into memory together."""
    chunk: list[str] = []
    total = 0.0
    for name in names:
        weight = model.get_submodule(name).get_parameter("weight")
        size = 8.0 * weight[0].numel() * (weight[0].numel() + len(weight))
        if chunk and total + size > LARGEST_SUMS:
            yield chunk
            chunk, total = [], 0.0
        chunk.append(name)
        total += size
    if chunk:
        yield chunk


class _System:
    """One convolution: its weight, the inverse covariance of what it reads, its variance."""

    def __init__(self, conv: nn.Module, moments: Moments):
        _, _, cov, _, variance = moments.centred()
        weight = conv.get_parameter("weight").detach().double()
        self.kernel = weight[0, 0].numel()
        self.weight = weight.flatten(1)
        scale = float(cov[0].diagonal().mean())
        ridge = RIDGE * max(scale, 1e-12)
        self.inverse = torch.linalg.inv(cov[0] + ridge * torch.eye(len(cov[0]), dtype=cov.dtype))
        self.variance = max(float(variance.sum()), 1e-12)

    def columns(self, positions: Tensor) -> Tensor:
        """Input channels [units, k] -> columns of the weight [units, k * kernel]."""
        cells = torch.arange(self.kernel)
        return (positions[:, :, None] * self.kernel + cells).flatten(1)


class _Reader:
    """A system as one group sees it; units leave from it."""

    def __init__(self, system: _System, positions: Tensor, importance: float):
        self._columns = system.columns(positions)
        self._inverse, self._weight = system.inverse.clone(), system.weight.clone()
        self._scale = importance / system.variance

    def errors(self, units: Tensor) -> Tensor:
        """What each of the units would add if it left now."""
        columns = self._columns[units]
        blocks = self._inverse[columns[:, :, None], columns[:, None, :]]
        own = self._weight[:, columns].permute(1, 0, 2)  # [units, O, k]
        solved = torch.linalg.solve(blocks, own.mT)
        added: Tensor = (own.mT * solved).sum((1, 2)) * self._scale
        return added

    def remove(self, units: Tensor) -> None:
        """Let units leave: the rest is solved anew."""
        columns = self._columns[units].flatten()
        inside = self._inverse[columns][:, columns]
        gain = torch.linalg.solve(inside, self._inverse[columns])  # [removed, D]
        self._weight -= self._weight[:, columns] @ gain
        self._inverse -= self._inverse[:, columns] @ gain
        self._weight[:, columns] = 0.0


def _errors(
    group: ChannelGroup, systems: Mapping[str, _System], importance: Mapping[str, float]
) -> Tensor:
    readers = [
        _Reader(systems[m.layer], torch.as_tensor(m.positions), importance.get(m.layer, 1.0))
        for m in group.consumers
    ]
    left = torch.arange(group.size)
    result = torch.zeros(group.size, dtype=torch.float64)
    highest = 0.0
    while len(left):
        errors = torch.stack([reader.errors(left) for reader in readers]).sum(0)
        order = errors.argsort()[: max(len(left) // 6, -(-group.size // ROUNDS))]
        for unit, error in zip(left[order].tolist(), errors[order].tolist(), strict=True):
            highest = max(highest, error)  # the order in which they leave is the ranking
            result[unit] = highest
        gone = left[order]
        left = torch.as_tensor(np.setdiff1d(left.numpy(), gone.numpy()))
        if len(left):
            for reader in readers:
                reader.remove(gone)
    return result
