"""A network as its channels see it: the layers, and which of their channels are the same."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import nn

from yolox.models.outputs import ELEMENTWISE

Labels = npt.NDArray[np.int64]
Operation = tuple[str, tuple[float, ...]]  # as torch names it, with the numbers it is given


@dataclass
class Layer:
    """A convolution or batch norm as the trace saw it.

    inputs, outputs: the number of every channel. kernel: weights per input and output channel.
    cells: positions of one image that the kernel is multiplied at, over all calls: of the output,
    or of a transposed convolution's input. depth: convolutions before it, on the longest way.
    norms: batch norms that read a convolution's output directly. sources: the convolutions whose
    output a batch norm reads directly. alone: whether nothing else than such a layer reads or is
    read.
    """

    name: str
    module: nn.Module
    kind: str  # conv, depthwise or norm
    inputs: Labels
    outputs: Labels
    kernel: int = 1
    cells: int = 0
    calls: int = 0
    depth: int = 0
    readers: set[Operation] = field(default_factory=set)  # that read the output directly
    norms: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    alone: bool = True
    before: set[str] = field(default_factory=set)  # the convolutions it reads, nearest ones

    @property
    def activation(self) -> Operation | None:
        """What alone reads the output, if that is an elementwise operation."""
        only = next(iter(self.readers)) if len(self.readers) == 1 else None
        return only if only is not None and only[0] in ELEMENTWISE else None


@dataclass
class Trace:
    """The layers in the order of their first call; `fixed` are the numbers that cannot be cut.

    size_hw: of the image, in pixels. other_params: learnable values that are in none of the layers.
    """

    layers: dict[str, Layer]
    fixed: set[int]
    size_hw: tuple[int, int]
    other_params: int = 0

    def normed(self) -> dict[str, tuple[str, ...]]:
        """Convolutions that only batch norms read, with these: they read nothing else."""
        return {
            layer.name: layer.norms
            for layer in self.layers.values()
            if layer.norms
            and layer.alone
            and all(self._reads_only(norm, layer.name) for norm in layer.norms)
        }

    def _reads_only(self, norm: str, name: str) -> bool:
        layer = self.layers[norm]
        return layer.alone and layer.sources == (name,)

    def fusable(self) -> dict[str, str]:
        """Convolutions that one batch norm reads, which can be folded into them, and it."""
        return {
            name: norms[0]
            for name, norms in self.normed().items()
            if len(norms) == 1 and self.layers[norms[0]].calls == self.layers[name].calls
        }
