"""Which channels of a model depend on each other, observed while it runs.

The model runs once on the meta device (no arithmetic) below a dispatch mode that gives every
channel a number. An addition makes the numbers of its operands equal, a concatenation puts them
side by side, a convolution reads some and makes new ones. What no rule covers is never cut: its
channels are fixed. So the trace works on any network made of tensors [B, C, H, W].
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from yolox.models.channels import is_depthwise

Labels = npt.NDArray[np.int64]

# One value in, one value out, channel by channel (a trailing underscore means in place).
_UNARY = {
    "silu", "relu", "hardswish", "leaky_relu", "sigmoid", "hardsigmoid", "hardtanh", "clamp",
    "clamp_min", "clamp_max", "max_pool2d_with_indices", "max_pool2d", "avg_pool2d",
    "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "upsample_nearest2d", "upsample_bilinear2d",
    "constant_pad_nd", "clone", "_to_copy", "alias", "detach", "neg", "exp", "pow", "sqrt", "gelu",
    "tanh", "dropout", "native_dropout", "elu", "mish", "softplus",
}  # fmt: skip
_BINARY = {"add", "sub", "mul", "div", "maximum", "minimum"}
_FEATURE_DIMS = 4  # batch, channels, height, width


@dataclass
class Layer:
    """A convolution or batch norm as the trace saw it.

    inputs, outputs: the number of every channel. kernel: weights per input and output channel.
    cells: output positions of one image, over all calls. depth: convolutions before it.
    norms: batch norms that read a convolution's output directly.
    """

    name: str
    module: nn.Module
    kind: str  # conv, depthwise or norm
    inputs: Labels
    outputs: Labels
    kernel: int = 1
    cells: int = 0
    depth: int = 0
    norms: tuple[str, ...] = ()


@dataclass
class Trace:
    """The layers in the order of their first call; `fixed` are the numbers that cannot be cut.

    size_hw: of the image, in pixels.
    """

    layers: dict[str, Layer]
    fixed: set[int]
    size_hw: tuple[int, int]

    def solvable(self) -> list[Layer]:
        """The convolutions that are linear maps from patches to answers: plain or depthwise."""
        return [
            layer for layer in self.layers.values()
            if isinstance(layer.module, nn.Conv2d)
            and (layer.kind == "depthwise" or layer.module.groups == 1)
        ]  # fmt: skip


def trace(model: nn.Module, size_hw: tuple[int, int]) -> Trace:
    """Run `model.raw` (or the model) once for one image of `size_hw` pixels, without arithmetic."""
    probe = copy.deepcopy(model).to("meta").eval()
    run: Callable[[Tensor], Any] = getattr(probe, "raw", probe)
    mode = _Watch(probe)
    image = torch.empty(1, 3, *size_hw, device="meta")
    with torch.no_grad(), mode:
        mode.start(image)
        mode.end(run(image))
    return mode.result(model, size_hw)


@dataclass
class _Known:
    """What is known of one tensor: its channels' numbers, how many convolutions it went through,
    and the convolution whose untouched output it is.
    """

    labels: Labels
    depth: int
    maker: str | None = None


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, model: nn.Module):
        super().__init__()  # type: ignore[no-untyped-call]
        self._names = {
            id(module.weight): name
            for name, module in model.named_modules()
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d)
        }
        self._modules = dict(model.named_modules())
        self._parents: list[int] = []
        self._known: dict[int, _Known] = {}
        self._alive: list[Any] = []  # ids stay unique as long as their tensors live
        self._fixed: list[int] = []
        self._layers: dict[str, Layer] = {}

    def start(self, image: Tensor) -> None:
        """The channels of the image are fixed."""
        labels = self._new(image.shape[1])
        self._fixed += labels.tolist()
        self._note(image, _Known(labels, 0))

    def end(self, outputs: Any) -> None:
        """The channels of what the model returns are fixed."""
        for tensor in _tensors(outputs):
            self._fix(tensor)

    def result(self, model: nn.Module, size_hw: Sequence[int]) -> Trace:
        """The layers with the final numbers of their channels."""
        for layer in self._layers.values():
            layer.module = model.get_submodule(layer.name)
            layer.inputs = self._roots(layer.inputs)
            layer.outputs = self._roots(layer.outputs)
        fixed = {self._root(label) for label in self._fixed}
        return Trace(self._layers, fixed, (size_hw[0], size_hw[1]))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._overloadpacket.__name__
        self._alive.append(out)
        rule = self._rule(name.rstrip("_"))
        if rule is None or not rule(name, args, out):
            for tensor in _tensors((args, kwargs)):
                self._fix(tensor)
        return out

    def _rule(self, name: str) -> Callable[[str, tuple[Any, ...], Any], bool] | None:
        if name in _UNARY:
            return self._unary
        if name in _BINARY:
            return self._binary
        if "batch_norm" in name:
            return self._norm
        rules: dict[str, Callable[[str, tuple[Any, ...], Any], bool]] = {
            "convolution": self._convolution, "cat": self._cat, "mean": self._mean,
            "slice": self._slice, "split": self._split, "split_with_sizes": self._split,
        }  # fmt: skip
        return rules.get(name)

    # rules: each returns whether it understood the call

    def _unary(self, name: str, args: tuple[Any, ...], out: Any) -> bool:
        known = self._of(args[0])
        first = out[0] if isinstance(out, tuple) else out
        if known is None:
            return True
        if first.dim() != _FEATURE_DIMS or first.shape[1] != len(known.labels):
            return False
        self._note(first, _merged([known], known.labels))
        return True

    def _binary(self, name: str, args: tuple[Any, ...], out: Any) -> bool:
        parts = [k for k in map(self._of, args[:2]) if k is not None]
        if not parts:
            return True
        if any(len(p.labels) != out.shape[1] for p in parts) or out.dim() != _FEATURE_DIMS:
            return False
        if any(isinstance(a, Tensor) and self._of(a) is None and a.numel() > 1 for a in args[:2]):
            return False  # a parameter or constant per channel, which nobody would cut
        for other in parts[1:]:
            self._unite(parts[0].labels, other.labels)
        self._note(out, _merged(parts, parts[0].labels))
        return True

    def _norm(self, name: str, args: tuple[Any, ...], out: Any) -> bool:
        known, layer = self._of(args[0]), self._named(args[1])
        if known is None or layer is None:
            return False
        seen = self._layers.setdefault(
            layer, Layer(layer, self._modules[layer], "norm", known.labels, known.labels)
        )
        self._unite(seen.outputs, known.labels)
        if known.maker is not None and layer not in self._layers[known.maker].norms:
            self._layers[known.maker].norms += (layer,)
        self._note(out[0] if isinstance(out, tuple | list) else out, _merged([known], known.labels))
        return True

    def _convolution(self, name: str, args: tuple[Any, ...], out: Tensor) -> bool:
        layer = self._named(args[1])
        if layer is None:
            return False
        known = self._of(args[0]) or self._unknown(args[0])
        module: Any = self._modules[layer]
        depthwise = is_depthwise(module)
        if layer not in self._layers:
            outputs = known.labels if depthwise else self._new(out.shape[1])
            kind = "depthwise" if depthwise else "conv"
            kernel = module.kernel_size[0] * module.kernel_size[1]
            self._layers[layer] = Layer(layer, module, kind, known.labels, outputs, kernel)
            if module.groups > 1 and not depthwise:  # neither whole nor depthwise
                self._fixed += [*known.labels.tolist(), *outputs.tolist()]
        seen = self._layers[layer]
        self._unite(seen.inputs, known.labels)
        seen.cells += out.shape[-2] * out.shape[-1]
        seen.depth = max(seen.depth, known.depth)
        self._note(out, _Known(seen.outputs, known.depth + 1, layer))
        return True

    def _cat(self, name: str, args: tuple[Any, ...], out: Tensor) -> bool:
        parts = [self._of(tensor) for tensor in args[0]]
        if all(part is None for part in parts):
            return True
        dim = args[1] if len(args) > 1 else 0
        if (
            any(part is None for part in parts)
            or dim % out.dim() != 1
            or out.dim() != _FEATURE_DIMS
        ):
            return False
        found = [part for part in parts if part is not None]
        self._note(out, _merged(found, np.concatenate([part.labels for part in found])))
        return True

    def _mean(self, name: str, args: tuple[Any, ...], out: Tensor) -> bool:
        known = self._of(args[0])
        if known is None:
            return True
        if out.dim() != _FEATURE_DIMS or any(dim % _FEATURE_DIMS < 2 for dim in args[1]):
            return False
        self._note(out, known)
        return True

    def _slice(self, name: str, args: tuple[Any, ...], out: Tensor) -> bool:
        known = self._of(args[0])
        if known is None:
            return True
        if out.dim() != _FEATURE_DIMS:
            return False
        given = [*args[1:], *(0, None, None, 1)[len(args) - 1 :]]
        dim, start, end, step = given
        labels = known.labels[start:end:step] if dim % _FEATURE_DIMS == 1 else known.labels
        self._note(out, _merged([known], labels))
        return True

    def _split(self, name: str, args: tuple[Any, ...], out: Sequence[Tensor]) -> bool:
        known = self._of(args[0])
        if known is None:
            return True
        if out[0].dim() != _FEATURE_DIMS:
            return False
        along_channels = len(args) > 2 and args[2] % _FEATURE_DIMS == 1
        start = 0
        for part in out:
            stop = start + part.shape[1]
            labels = known.labels[start:stop] if along_channels else known.labels
            self._note(part, _merged([known], labels))
            start = stop
        return True

    # numbers of channels

    def _new(self, count: int) -> Labels:
        first = len(self._parents)
        self._parents += range(first, first + count)
        return np.arange(first, first + count)

    def _unknown(self, tensor: Tensor) -> _Known:
        """What a convolution reads after an operation that no rule covers: fixed channels."""
        known = _Known(self._new(tensor.shape[1]), 0)
        self._note(tensor, known)
        self._fix(tensor)
        return known

    def _root(self, label: int) -> int:
        while self._parents[label] != label:
            self._parents[label] = self._parents[self._parents[label]]
            label = self._parents[label]
        return label

    def _roots(self, labels: Labels) -> Labels:
        return np.array([self._root(label) for label in labels.tolist()], dtype=np.int64)

    def _unite(self, first: Labels, second: Labels) -> None:
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            self._parents[self._root(b)] = self._root(a)

    def _fix(self, tensor: Tensor) -> None:
        known = self._of(tensor)
        if known is not None:
            self._fixed += known.labels.tolist()

    def _of(self, value: Any) -> _Known | None:
        return self._known.get(id(value)) if isinstance(value, Tensor) else None

    def _named(self, weight: Any) -> str | None:
        return self._names.get(id(weight))

    def _note(self, tensor: Tensor, known: _Known) -> None:
        self._known[id(tensor)] = known


def _merged(parts: Sequence[_Known], labels: Labels) -> _Known:
    return _Known(labels, max(part.depth for part in parts))


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [tensor for item in value for tensor in _tensors(item)]
    return []
