"""Running one model over the same images again and again, while it is solved from front to back.

A module whose convolutions are all solved gives the same outputs every time: they are kept on the
disk and read from there, so each pass costs little more than the part that is being solved.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from yolox.files import TemporaryFolder
from yolox.models.graph import Trace
from yolox.models.network import Network


class ForwardCache:
    """Keeps the outputs of settled modules of a model for numbered batches.

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
        """The batches of one pass; outputs are kept and reused meanwhile."""

        def numbered() -> Iterator[Tensor]:
            for number, images in enumerate(batches()):
                self._batch, self._calls = number, Counter()
                yield images

        for name, module in self._replaced.items():
            self._put(name, _Cached(module, partial(self._outputs, name)))
        try:
            yield numbered()
        finally:
            for name, module in self._replaced.items():
                self._put(name, module)

    def keep_before(self, depth: int) -> None:
        """From now on, layers before `depth` do not change any more."""
        done = [
            name
            for name, deepest in self._depths.items()
            if deepest < depth and name not in self._unfit
        ]
        largest = [n for n in done if not any(n.startswith(f"{other}.") for other in done)]
        for name in set(self._replaced) - set(largest):
            for path in self._folder.path.glob(f"{name}@*"):
                path.unlink()
        self._replaced = {name: self._model.get_submodule(name) for name in largest}

    def _put(self, name: str, module: nn.Module) -> None:
        """Let the model use a module under a name."""
        parent, _, own = name.rpartition(".")
        setattr(self._model.get_submodule(parent), own, module)

    def _outputs(self, name: str, module: nn.Module, *inputs: Any) -> Any:
        """What a module gives for its inputs, computed only where it is not kept yet."""
        path = self._folder.path / f"{name}@{self._batch}.{self._calls[name]}"
        self._calls[name] += 1
        if path.exists():
            return torch.load(path, weights_only=True, map_location=inputs[0].device)
        output = module(*inputs)
        if len(inputs) == 1 and all(isinstance(value, Tensor) for value in (output, *inputs)):
            torch.save(output, path)
        else:
            self._unfit.add(name)
        return output


class _Cached(nn.Module):
    """Stands in for a module of which only the outputs matter."""

    def __init__(self, module: nn.Module, outputs: Callable[..., Any]):
        super().__init__()
        self.module, self._outputs = module, outputs

    def forward(self, *inputs: Any) -> Any:
        """The module's outputs, kept or computed."""
        return self._outputs(self.module, *inputs)

    def __getattr__(self, name: str) -> Any:
        """What else is asked of the module, its parts among it."""
        own = self.__dict__["_modules"]
        return own[name] if name in own else getattr(own["module"], name)

    # some networks run the layers of a sequence one by one

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.module)  # type: ignore[call-overload,no-any-return]

    def __len__(self) -> int:
        return len(self.module)  # type: ignore[arg-type]

    def __getitem__(self, index: Any) -> nn.Module:
        return self.module[index]  # type: ignore[index,no-any-return]


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
