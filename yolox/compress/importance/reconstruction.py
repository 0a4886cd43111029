"""What the readers of units cannot make good once these are gone.

For a convolution y = W x the least-squares error of doing without some inputs, the others solved
anew, has a closed form in the inverse covariance of x (optimal brain surgeon, Hassibi 1993). Units
leave greedily, a few at a time, after which the inverse is brought up to date.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from yolox.compress.groups import ChannelGroup, Groups
from yolox.compress.layer_statistics import (
    LayerStatistics,
    RecordedOutputs,
    layer_statistics,
    solvable,
)
from yolox.models.network import Network
from yolox.ops.precision import to_float64

RIDGE = 1e-3  # of the mean variance of what a layer reads
ROUNDS = 24  # in which the units of a group leave
LARGEST_SUMS = 1e9  # bytes of moments that are held at once


class System:
    """One convolution: its weight, mean and inverse covariance of what it reads, its variance."""

    def __init__(self, conv: nn.Module, moments: LayerStatistics):
        mean, _, cov, _, variance = (sums.cpu() for sums in moments.centred())
        weight = to_float64(conv.get_parameter("weight").detach().cpu())
        self.kernel = weight[0, 0].numel()
        self.weight, self.mean = weight.flatten(1), mean[0]
        scale = float(cov[0].diagonal().mean())
        ridge = RIDGE * max(scale, 1e-12)
        self.inverse = torch.linalg.inv(cov[0] + ridge * torch.eye(len(cov[0]), dtype=cov.dtype))
        self.variance = max(float(variance.sum()), 1e-12)

    def reader(self, name: str, positions: Tensor, importance: float) -> "Reader":
        """The convolution as one group sees it. positions: [units, k] of its input channels."""
        return Reader(name, self, positions, importance)

    def columns(self, positions: Tensor) -> Tensor:
        """Input channels [units, k] -> columns of the weight [units, k * kernel]."""
        cells = torch.arange(self.kernel)
        return (positions[:, :, None] * self.kernel + cells).flatten(1)


class Reader:
    """A system as one group sees it; units leave from it. weight: [O, D], solved anew each time."""

    def __init__(self, name: str, system: System, positions: Tensor, importance: float = 1.0):
        self.name, self._system = name, system
        self._columns = system.columns(positions)
        self._inverse, self.weight = system.inverse.clone(), system.weight.clone()
        self._scale = importance / system.variance

    def errors(self, units: Tensor) -> Tensor:
        """What each of the units would add if it left now."""
        columns = self._columns[units]
        blocks = self._inverse[columns[:, :, None], columns[:, None, :]]
        own = self.weight[:, columns].permute(1, 0, 2)  # [units, O, k]
        solved = torch.linalg.solve(blocks, own.mT)
        added: Tensor = (own.mT * solved).sum((1, 2)) * self._scale
        return added

    def remove(self, units: Tensor) -> float:
        """Let units leave: the rest is solved anew. Returns what they add together."""
        columns = self._columns[units].flatten()
        inside = self._inverse[columns][:, columns]
        own = self.weight[:, columns]
        gain = torch.linalg.solve(inside, torch.cat([self._inverse[columns], own.mT], dim=1))
        added = float((own.mT * gain[:, -len(own) :]).sum()) * self._scale
        gain = gain[:, : -len(own)]  # [removed, D]
        self.weight -= own @ gain
        self._inverse -= self._inverse[:, columns] @ gain
        self.weight[:, columns] = 0.0
        return added

    @property
    def constant(self) -> Tensor:
        """[O], to be added to the outputs: their mean stays what it was."""
        return (self._system.weight - self.weight) @ self._system.mean


class Unsolved:
    """A convolution that cannot be solved anew: deformable, transposed, of padding that is no zero.

    Its inputs count as uncorrelated and alike: what is lost with one is its share of the weight.
    """

    def __init__(self, conv: nn.Module):
        self.weight = to_float64(conv.get_parameter("weight").detach().cpu())
        self.dim = 0 if isinstance(conv, nn.ConvTranspose2d) else 1  # of the inputs
        energy = self.weight.square().sum([d for d in range(4) if d != self.dim])
        self.shares = energy / energy.sum().clamp(min=1e-12)

    def reader(self, name: str, positions: Tensor, importance: float) -> "UnsolvedReader":
        """The convolution as one group sees it. positions: [units, k] of its input channels."""
        return UnsolvedReader(name, self, positions, importance)


class UnsolvedReader:
    """As `Reader`, without solving: the weights of what has left become zero."""

    def __init__(self, name: str, system: Unsolved, positions: Tensor, importance: float):
        self.name, self._dim, self._positions = name, system.dim, positions
        self.weight = system.weight.clone()
        self._losses = system.shares[positions].sum(1) * importance
        self.constant = torch.zeros(1, dtype=self.weight.dtype)

    def errors(self, units: Tensor) -> Tensor:
        """What each of the units would add if it left now."""
        return self._losses[units]

    def remove(self, units: Tensor) -> float:
        """Let units leave. Returns what they add together."""
        self.weight.index_fill_(self._dim, self._positions[units].flatten(), 0.0)
        return float(self._losses[units].sum())


Systems = Mapping[str, System | Unsolved]
AnyReader = Reader | UnsolvedReader


class Removal(NamedTuple):
    """Units that left together, in order: what each would have added alone, and all together."""

    units: list[int]
    errors: list[float]
    together: float


def reader_systems(
    model: Network, groups: Groups, batches: Callable[[], Iterator[Tensor]]
) -> dict[str, System | Unsolved]:
    """The convolutions that read any of the groups, by name.

    batches: calibration images [B, 3, H, W] float, anew at every call.
    """
    readers = {member.layer for group in groups.groups for member in group.consumers}
    systems: dict[str, System | Unsolved] = {}
    names = []
    for name in [name for name in groups.trace.layers if name in readers]:
        layer = model.get_submodule(name)
        if solvable(layer):
            names.append(name)
        else:
            systems[name] = Unsolved(layer)
    recorded = RecordedOutputs(model, names, batches)
    for chunk in _chunks(model, names):
        found = layer_statistics(model, recorded, dict.fromkeys(chunk), batches())
        for name in chunk:
            systems[name] = System(model.get_submodule(name), found[name])
    return systems


def group_readers(
    group: ChannelGroup, systems: Systems, importance: Mapping[str, float] | None = None
) -> list[AnyReader]:
    """All of a group's readers, from which nothing has left yet."""
    matters = importance or {}
    return [
        systems[m.layer].reader(m.layer, torch.as_tensor(m.positions), matters.get(m.layer, 1.0))
        for m in group.consumers
    ]


def removals(
    group: ChannelGroup, readers: Sequence[AnyReader], stops: Sequence[int] = ()
) -> Iterator[Removal]:
    """Let all units of a group leave in the best order; between two, the readers are solved anew.

    stops: numbers of units after which a removal ends in any case, ascending.
    """
    left = torch.arange(group.size)
    while len(left):
        gone = group.size - len(left)
        most = next((stop - gone for stop in stops if stop > gone), len(left))
        errors = torch.stack([reader.errors(left) for reader in readers]).sum(0)
        wanted = max(len(left) // 6, -(-group.size // ROUNDS))
        order = errors.argsort()[: min(wanted, most)]
        units = left[order]
        together = sum(reader.remove(units) for reader in readers)
        left = torch.as_tensor(np.setdiff1d(left.numpy(), units.numpy()))
        yield Removal(units.tolist(), errors[order].tolist(), together)


def unit_errors(
    model: Network,
    groups: Groups,
    batches: Callable[[], Iterator[Tensor]],
    weights: Mapping[str, float] | None = None,
) -> dict[str, Tensor]:
    """[units] by group: the error that each unit adds when it leaves, in the best order.

    Errors are shares of the variance of a convolution's outputs, summed over the convolutions
    that read the group. weights: how much such an error matters, by convolution (default: alike).
    """
    systems = reader_systems(model, groups, batches)
    return {
        group.name: _ranked(group, removals(group, group_readers(group, systems, weights)))
        for group in groups.groups
    }


def _ranked(group: ChannelGroup, leaving: Iterator[Removal]) -> Tensor:
    """Errors [units] that never fall: the order in which units leave is the ranking."""
    result = torch.zeros(group.size, dtype=torch.float64)
    highest = 0.0
    for removal in leaving:
        for unit, error in zip(removal.units, removal.errors, strict=True):
            highest = max(highest, error)
            result[unit] = highest
    return result


def _chunks(model: Network, names: list[str]) -> Iterator[list[str]]:
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
