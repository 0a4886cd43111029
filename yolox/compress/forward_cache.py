"""Running one model over the same images again and again, while it is solved from front to back.

A module whose convolutions are all solved answers the same every time: its outputs are kept on the
disk and read from there, so each pass costs little more than the part that is being solved.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from yolox.files import TemporaryFolder
from yolox.models.graph import Trace
from yolox.models.network import Network


class ForwardCache:
    """Keeps what settled modules of a model answer to numbered batches.

    Only modules that map one tensor to one tensor are kept; the largest settled ones serve.
    """

    def __init__(self, model: Network, trace: Trace):
        self._model = model
        self._depths = _deepest(model, trace)
        self._folder = TemporaryFolder()
        self._batch = 0
        self._calls: Counter[str] = Counter()  # of each kept module, for the batch at hand
        self._replaced: dict[str, nn.Module] = {}
        self._unfit: set[str] = set()

    @contextmanager
    def cached_batches(self, batches: Callable[[], Iterator[Tensor]]) -> Iterator[Iterator[Tensor]]:
        """The batches of one pass; answers are kept and reused meanwhile."""

        def numbered() -> Iterator[Tensor]:
            for number, images in enumerate(batches()):
                self._batch, self._calls = number, Counter()
                yield images

        for name, module in self._replaced.items():
            module.forward = self._kept(name, module.forward)
        try:
            yield numbered()
        finally:
            for module in self._replaced.values():
                del module.forward

    def keep_before(self, depth: int) -> None:
        """From now on, layers before `depth` do not change any more."""
        done = [
            name for name, deepest in self._depths.items()
            if deepest < depth and name not in self._unfit
        ]  # fmt: skip
        largest = [n for n in done if not any(n.startswith(f"{other}.") for other in done)]
        for name in set(self._replaced) - set(largest):
            for path in self._folder.path.glob(f"{name}@*"):
                path.unlink()
        self._replaced = {name: self._model.get_submodule(name) for name in largest}

    def _kept(self, name: str, compute: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*inputs: Any) -> Any:
            path = self._folder.path / f"{name}@{self._batch}.{self._calls[name]}"
            self._calls[name] += 1
            if path.exists():
                return torch.load(path, weights_only=True, map_location=inputs[0].device)
            output = compute(*inputs)
            if isinstance(output, Tensor) and len(inputs) == 1:
                torch.save(output, path)
            else:
                self._unfit.add(name)
            return output

        return forward


def _deepest(model: Network, trace: Trace) -> dict[str, int]:
    """The depth of the last convolution in each module that holds several layers."""
    depths: dict[str, int] = {}
    for layer in trace.layers.values():
        parts = layer.name.split(".")
        for end in range(1, len(parts)):
            name = ".".join(parts[:end])
            if not isinstance(model.get_submodule(name), nn.ModuleList):
                depths[name] = max(depths.get(name, 0), layer.depth)
    return depths
