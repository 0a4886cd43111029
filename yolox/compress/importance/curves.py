"""Sensitivity of channel groups: what is lost against how many of a group's units are gone.

One group at a time loses units, in the order of the criterion `output`; those that read it are
solved anew in closed form (see `reconstruction.py`), so a point of a curve says what nothing in
the layers next to the group can make good.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from yolox.compress.forward_cache import ForwardCache
from yolox.compress.groups import ChannelGroup
from yolox.compress.importance.reconstruction import AnyReader, Systems, group_readers, removals
from yolox.families.base import Distance
from yolox.models.graph import Trace
from yolox.models.network import Network

Floats = npt.NDArray[np.float64]
Damage = Callable[[], float]  # of the model as it is now, 0 for the dense one


@dataclass(frozen=True)
class Curve:
    """What a group of `size` units loses: `losses[i]` with `units[i]` of them gone, ascending."""

    size: int
    units: tuple[int, ...]
    losses: tuple[float, ...]

    def marginals(self, left: int) -> Floats:
        """[left]: what each of the last `left` units adds when it leaves, in order, never falling.

        They are the slopes of the lower convex hull of the curve, from no loss with none gone: the
        steepest measured slope goes on behind the last point. With them the cheapest units of
        several groups are found greedily.
        """
        x = np.array([0, *self.units], dtype=np.float64)
        y = np.maximum([0.0, *self.losses], 0.0)
        corners = [0]
        while corners[-1] < len(x) - 1:
            rest = np.arange(corners[-1] + 1, len(x))
            slopes = (y[rest] - y[corners[-1]]) / (x[rest] - x[corners[-1]])
            corners.append(int(rest[::-1][slopes[::-1].argmin()]))
        slopes = np.diff(y[corners]) / np.diff(x[corners])
        segment = np.searchsorted(x[corners][1:], np.arange(self.size), side="right")
        steps: Floats = slopes[np.minimum(segment, len(slopes) - 1)].clip(min=0.0)
        return steps[self.size - left :]


def measure_curve(
    model: Network,
    group: ChannelGroup,
    systems: Systems,
    ratios: Sequence[float],
    damage: Damage | None = None,
) -> Curve:
    """The curve of one group at the shares `ratios` of its units, ascending; the model is put back.

    systems: of `reader_systems`. damage: measures the model at each point; without one the loss is
    the reconstruction error, as shares of the variance of the readers' outputs, summed.
    """
    stops = removed_counts(group.size, ratios)
    readers = group_readers(group, systems)
    points: dict[int, float] = {}
    gone, error = 0, 0.0
    for removal in removals(group, readers, stops):
        gone += len(removal.units)
        error += removal.together
        if gone not in stops:
            continue
        if damage is None:
            points[gone] = error
        else:
            with compensated(model, readers):
                points[gone] = damage()
        if gone == stops[-1]:
            break
    return Curve(group.size, tuple(points), tuple(points.values()))


def removed_counts(size: int, ratios: Sequence[float]) -> list[int]:
    """How many of `size` units leave for each share: at least one, each number once."""
    return sorted({max(round(ratio * size), 1) for ratio in ratios})


@contextmanager
def compensated(model: Network, readers: Sequence[AnyReader]) -> Iterator[None]:
    """For the time of a block, the readers do without what has left: other weights, a constant."""
    with ExitStack() as undo:
        for reader in readers:
            conv: Any = model.get_submodule(reader.name)
            undo.callback(setattr, conv.weight, "data", conv.weight.data)
            conv.weight.data = reader.weight.to(conv.weight).reshape(conv.weight.shape)
            constant = reader.constant.to(conv.weight).reshape(-1, 1, 1)

            def add(_: nn.Module, __: Any, y: Tensor, constant: Tensor = constant) -> Tensor:
                return y + constant

            undo.callback(conv.register_forward_hook(add).remove)
        yield


class OutputLoss:
    """The mean distance from the model's own raw predictions before anything has left.

    Layers before the first reader of the group at hand put out what they did: they run once only.
    """

    def __init__(
        self, model: Any, trace: Trace, batches: Callable[[], Iterator[Tensor]], distance: Distance
    ):
        self._model, self._trace, self._batches = model, trace, batches
        self._distance = distance
        self._replay = ForwardCache(model, trace)
        with torch.no_grad():
            self._wanted = [model.raw(_fast(batch)) for batch in batches()]

    def of(self, group: ChannelGroup) -> Damage:
        """Measures the model as it is now, where at most the readers of a group have changed."""
        self._replay.keep_before(min(self._trace.layers[m.layer].depth for m in group.consumers))
        return self._measure

    @torch.no_grad()
    def _measure(self) -> float:
        losses, count = 0.0, 0
        with self._replay.cached_batches(self._batches) as images:
            for batch, wanted in zip(images, self._wanted, strict=True):
                found = self._model.raw(_fast(batch))
                losses += len(batch) * float(self._distance(found, wanted))
                count += len(batch)
        return losses / count


def _fast(batch: Tensor) -> Tensor:
    return batch.contiguous(memory_format=torch.channels_last)
