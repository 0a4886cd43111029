"""Parameters and MACs of a model as a function of the units cut from each channel group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from yolox.compress.groups import Groups
from yolox.models.graph import Layer

Counts = npt.NDArray[np.int64]  # [groups], units


@dataclass(frozen=True)
class Cost:
    """Of the deployed model, batch norms fused where they can be. MACs of the convolutions for one
    image.
    """

    params: float
    macs: float


class CostModel:
    """Counts without building: every side of a layer shrinks in step with its groups."""

    def __init__(self, groups: Groups):
        fusable = groups.trace.fusable()
        gone = set(fusable.values())
        layers = [layer for name, layer in groups.trace.layers.items() if name not in gone]
        row = {layer.name: number for number, layer in enumerate(layers)}
        self._depthwise = np.array([layer.kind == "depthwise" for layer in layers])
        self._kernel = np.array(
            [0 if layer.kind == "norm" else layer.kernel for layer in layers], dtype=np.float64
        )
        self._vectors = np.array([_vectors(layer, fusable) for layer in layers], dtype=np.float64)
        self._others = groups.trace.other_params
        self._cells = np.array([layer.cells for layer in layers], dtype=np.float64)
        self._out = np.array([len(layer.outputs) for layer in layers], dtype=np.float64)
        self._in = np.array([len(layer.inputs) for layer in layers], dtype=np.float64)
        self._out_per_unit = np.zeros((len(layers), len(groups)))
        self._in_per_unit = np.zeros((len(layers), len(groups)))
        for column, group in enumerate(groups.groups):
            for member in group.members:
                if member.layer in row:
                    of = self._out_per_unit if member.side == "out" else self._in_per_unit
                    of[row[member.layer], column] = member.positions.shape[1]
        self._names = [group.name for group in groups.groups]
        self.sizes: Counts = np.array([group.size for group in groups.groups])

    def of(self, removed: Counts) -> Cost:
        """The cost once so many units of each group are gone."""
        out = self._out - self._out_per_unit @ removed
        read = np.where(self._depthwise, 1.0, self._in - self._in_per_unit @ removed)
        weights = out * read * self._kernel
        params = (weights + out * self._vectors).sum() + self._others
        return Cost(float(params), float((weights * self._cells).sum()))

    def after(self, kept: Mapping[str, Sequence[int]]) -> Cost:
        """The cost with the kept units by group name; groups not named are whole."""
        pairs = zip(self._names, self.sizes.tolist(), strict=True)
        return self.of(np.array([size - len(kept.get(name, range(size))) for name, size in pairs]))

    def dense(self) -> Cost:
        """The cost before anything is cut."""
        return self.of(np.zeros_like(self.sizes))

    def per_unit(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Parameters and MACs that the first unit of each group saves: [groups] each."""
        dense = self.dense()
        saved = [self.of(one) for one in np.eye(len(self.sizes), dtype=np.int64)]
        return (
            np.array([dense.params - cost.params for cost in saved]),
            np.array([dense.macs - cost.macs for cost in saved]),
        )


def _vectors(layer: Layer, fusable: Mapping[str, str]) -> int:
    """Learnable values per output channel beside the weights of a convolution."""
    if layer.kind != "norm":
        return int(layer.name in fusable or getattr(layer.module, "bias", None) is not None)
    return sum(1 for _ in layer.module.parameters())
