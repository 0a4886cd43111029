"""Which channels of a model depend on each other, observed while it runs.

The model runs once on the meta device (no arithmetic) below a dispatch mode that gives every
channel a number. An addition makes the numbers of its operands equal, a concatenation puts them
side by side, a convolution reads some and makes new ones. What no rule covers is never cut: its
channels are fixed. So the trace works on any network made of tensors [B, C, H, W].
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from yolox.errors import ModelError
from yolox.models.channels import is_convolution, is_depthwise, is_plain_norm
from yolox.models.copies import copied_without_values
from yolox.models.graph import Labels, Layer, Operation, Trace
from yolox.models.network import Network
from yolox.models.outputs import BINARY, ELEMENTWISE, FEATURE_DIMS, known_output

# One value in, one value out, channel by channel (a trailing underscore means in place).
_UNARY = {
    *ELEMENTWISE,
    "max_pool2d_with_indices",
    "max_pool2d",
    "avg_pool2d",
    "adaptive_avg_pool2d",
    "_adaptive_avg_pool2d",
    "upsample_nearest2d",
    "upsample_bilinear2d",
    "constant_pad_nd",
    "reflection_pad2d",
    "replication_pad2d",
    "clone",
    "_to_copy",
    "alias",
    "detach",
    "pow",
    "dropout",
    "native_dropout",
}
_RESHAPES = {"view", "_unsafe_view", "_reshape_alias", "reshape", "flatten", "squeeze"}
_VECTOR_DIMS = 2  # batch, channels: of features that were pooled to one cell


def trace(model: Network, size_hw: tuple[int, int]) -> Trace:
    """Ask a network once for its raw predictions for one image of `size_hw` pixels.

    Raises ModelError where it cannot run without values (on torch's meta device).
    """
    probe = copied_without_values(model).eval()
    mode = _Watch(probe)
    image = torch.empty(1, model.image_channels, *size_hw, device="meta")
    try:
        with torch.no_grad(), mode:
            mode.start(image)
            mode.end(probe.raw(image))
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).split("\n")[0]
        raise ModelError(
            f"{type(model).__name__} cannot be traced: raw() must run on torch's meta device, "
            f"where tensors have no values: {reason}"
        ) from error
    return mode.result(model, size_hw)


@dataclass
class _Known:
    """What is known of one tensor: its channels' numbers, the layer whose output it is."""

    labels: Labels
    giver: str | None = None


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, model: nn.Module):
        super().__init__()  # type: ignore[no-untyped-call]
        self._names = {
            id(module.weight): name
            for name, module in model.named_modules()
            if isinstance(module, nn.BatchNorm2d) or is_convolution(module)
        }
        self._modules = dict(model.named_modules())
        self._module_calls: Counter[str] = Counter()
        for name in self._names.values():
            self._modules[name].register_forward_hook(self._counts(name))
        self._parents: list[int] = []
        self._known: dict[int, _Known] = {}
        self._after: dict[int, frozenset[str]] = {}  # the last convolutions on the ways to a tensor
        self._alive: list[Any] = []  # ids stay unique as long as their tensors live
        self._fixed: list[int] = []
        self._layers: dict[str, Layer] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not to be hidden from torch.compile: PyTorch imports its compiler to do that (2 s)."""
        return False

    def start(self, image: Tensor) -> None:
        """The channels of the image are fixed."""
        labels = self._new(image.shape[1])
        self._fixed += labels.tolist()
        self._note(image, _Known(labels))

    def end(self, outputs: Any) -> None:
        """The channels of what the model returns are fixed."""
        for tensor in tensors(outputs):
            self._fix(tensor)
            self._read(tensor)
            self._used(tensor, ("output", ()))

    def result(self, model: nn.Module, size_hw: Sequence[int]) -> Trace:
        """The layers with the final numbers of their channels."""
        inside = set()
        for layer in self._layers.values():
            layer.module = model.get_submodule(layer.name)
            layer.inputs = self._roots(layer.inputs)
            layer.outputs = self._roots(layer.outputs)
            if layer.calls != self._module_calls[layer.name]:
                layer.alone = False  # its weights are used without it
            inside |= {id(parameter) for parameter in layer.module.parameters(recurse=False)}
        _set_depths(self._layers)
        fixed = {self._root(label) for label in self._fixed}
        others = sum(p.numel() for p in model.parameters() if id(p) not in inside)
        return Trace(self._layers, fixed, (size_hw[0], size_hw[1]), others)

    def _counts(self, name: str) -> Callable[..., None]:
        def count(*_: Any) -> None:
            self._module_calls[name] += 1

        return count

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func._overloadpacket.__name__
        out = known_output(name, func, args)
        if out is None:
            out = func(*args, **(kwargs or {}))
        self._alive.append(out)
        read = tensors((args, kwargs))
        numbers = tuple(float(x) for x in args[1:] if isinstance(x, int | float))
        for tensor in read:
            self._used(tensor, (name.rstrip("_"), numbers))
        if "batch_norm" not in name:
            for tensor in read:
                self._read(tensor)
        after = frozenset[str]().union(*(self._after.get(id(tensor), ()) for tensor in read))
        for tensor in tensors(out):
            self._after[id(tensor)] = after
        rule = self._rule(name.rstrip("_"))
        if rule is None or not rule(name, args, out):
            for tensor in read:
                self._fix(tensor)
        return out

    def _rule(self, name: str) -> Callable[[str, tuple[Any, ...], Any], bool] | None:
        if name in _UNARY:
            return self._unary
        if name in BINARY:
            return self._binary
        if name in _RESHAPES:
            return self._reshape
        if "batch_norm" in name:
            return self._norm
        rules: dict[str, Callable[[str, tuple[Any, ...], Any], bool]] = {
            "convolution": self._convolution,
            "deform_conv2d": self._deformable,
            "cat": self._cat,
            "mean": self._mean,
            "amax": self._mean,
            "slice": self._slice,
            "split": self._split,
            "split_with_sizes": self._split,
        }
        return rules.get(name)

    # rules: each returns whether it understood the call

    def _unary(self, name: str, args: tuple[Any, ...], out: Any) -> bool:
        known = self._of(args[0])
        first = out[0] if isinstance(out, tuple) else out
        if known is None:
            return True
        if first.dim() not in (FEATURE_DIMS, _VECTOR_DIMS) or first.shape[1] != len(known.labels):
            return False
        self._note(first, _Known(known.labels))
        return True

    def _reshape(self, name: str, args: tuple[Any, ...], out: Tensor) -> bool:
        """One cell of channels as a vector, or the other way round."""
        known = self._of(args[0])
        if known is None:
            return True
        batch, channels = args[0].shape[0], len(known.labels)
        if out.shape not in ((batch, channels), (batch, channels, 1, 1)):
            return False
        self._note(out, _Known(known.labels))
        return True

    def _binary(self, name: str, args: tuple[Any, ...], out: Any) -> bool:
        found = [k for k in map(self._of, args[:2]) if k is not None]
        if not found:
            return True
        if out.dim() != FEATURE_DIMS:
            return False
        if any(isinstance(a, Tensor) and self._of(a) is None and a.numel() > 1 for a in args[:2]):
            return False  # a parameter or constant per channel, which nobody would cut
        parts = [part for part in found if len(part.labels) == out.shape[1]]
        for part in found:
            if len(part.labels) == 1 < out.shape[1]:  # one map for all channels
                self._fixed += part.labels.tolist()
            elif len(part.labels) != out.shape[1]:
                return False
        if not parts:
            return False
        for other in parts[1:]:
            self._unite(parts[0].labels, other.labels)
        self._note(out, _Known(parts[0].labels))
        return True

    def _norm(self, name: str, args: tuple[Any, ...], out: Any) -> bool:
        known, layer = self._of(args[0]), self._named(args[1])
        if known is None or layer is None:
            self._read(args[0])
            return False
        seen = self._layers.setdefault(
            layer, Layer(layer, self._modules[layer], "norm", known.labels, known.labels)
        )
        seen.calls += 1
        self._unite(seen.outputs, known.labels)
        maker = self._maker(known)
        if maker is None or not is_plain_norm(seen.module):
            seen.alone = False
        else:
            maker.norms = _with(maker.norms, layer)
            seen.sources = _with(seen.sources, maker.name)
        given = _Known(known.labels, layer)
        self._note(out[0] if isinstance(out, tuple | list) else out, given)
        return True

    def _convolution(self, name: str, args: tuple[Any, ...], out: Tensor) -> bool:
        layer = self._named(args[1])
        if layer is None:
            return False
        self._convolve(layer, args[0], out)
        return True

    def _deformable(self, name: str, args: tuple[Any, ...], out: Tensor) -> bool:
        """A convolution that reads where its second input says: that one cannot be cut."""
        image, weight, *rest = args
        layer = self._named(weight)
        if layer is None:
            return False
        self._convolve(layer, image, out)
        for tensor in tensors(rest):
            self._fix(tensor)
        if rest[0].shape[1] != 2 * self._layers[layer].kernel:  # channels move in groups
            self._fix(image)
        return True

    def _convolve(self, name: str, image: Tensor, out: Tensor) -> None:
        known = self._of(image) or self._unknown(image)
        module: Any = self._modules[name]
        depthwise = is_depthwise(module)
        if name not in self._layers:
            each = module.out_channels // module.in_channels  # outputs of a depthwise one's input
            outputs = known.labels.repeat(each) if depthwise else self._new(out.shape[1])
            kind = "depthwise" if depthwise else "conv"
            kernel = module.kernel_size[0] * module.kernel_size[1]
            self._layers[name] = Layer(name, module, kind, known.labels, outputs, kernel)
            if module.groups > 1 and not depthwise:  # neither whole nor depthwise
                self._fixed += [*known.labels.tolist(), *outputs.tolist()]
        seen = self._layers[name]
        self._unite(seen.inputs, known.labels)
        where = image if isinstance(module, nn.ConvTranspose2d) else out  # it multiplies there
        seen.cells += where.shape[-2] * where.shape[-1]
        seen.calls += 1
        seen.before |= self._after[id(out)]
        self._after[id(out)] = frozenset([name])
        self._note(out, _Known(seen.outputs, name))

    def _cat(self, name: str, args: tuple[Any, ...], out: Tensor) -> bool:
        parts = [self._of(tensor) for tensor in args[0]]
        if all(part is None for part in parts):
            return True
        dim = args[1] if len(args) > 1 else 0
        if any(part is None for part in parts) or dim % out.dim() != 1 or out.dim() != FEATURE_DIMS:
            return False
        labels = [part.labels for part in parts if part is not None]
        self._note(out, _Known(np.concatenate(labels)))
        return True

    def _mean(self, name: str, args: tuple[Any, ...], out: Tensor) -> bool:
        known = self._of(args[0])
        if known is None:
            return True
        dims = {dim % args[0].dim() for dim in args[1]}
        cells = dims <= {2, 3} and (out.dim() == FEATURE_DIMS or dims == {2, 3})
        if args[0].dim() != FEATURE_DIMS or not cells:
            return False
        self._note(out, _Known(known.labels))
        return True

    def _slice(self, name: str, args: tuple[Any, ...], out: Tensor) -> bool:
        known = self._of(args[0])
        if known is None:
            return True
        if out.dim() != FEATURE_DIMS:
            return False
        given = [*args[1:], *(0, None, None, 1)[len(args) - 1 :]]
        dim, start, end, step = given
        labels = known.labels[start:end:step] if dim % FEATURE_DIMS == 1 else known.labels
        self._note(out, _Known(labels))
        return True

    def _split(self, name: str, args: tuple[Any, ...], out: Sequence[Tensor]) -> bool:
        known = self._of(args[0])
        if known is None:
            return True
        if out[0].dim() != FEATURE_DIMS:
            return False
        along_channels = len(args) > 2 and args[2] % FEATURE_DIMS == 1
        start = 0
        for part in out:
            stop = start + part.shape[1]
            labels = known.labels[start:stop] if along_channels else known.labels
            self._note(part, _Known(labels))
            start = stop
        return True

    # numbers of channels

    def _new(self, count: int) -> Labels:
        first = len(self._parents)
        self._parents += range(first, first + count)
        return np.arange(first, first + count)

    def _unknown(self, tensor: Tensor) -> _Known:
        """What a convolution reads after an operation that no rule covers: fixed channels."""
        known = _Known(self._new(tensor.shape[1]))
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

    def _read(self, tensor: Tensor) -> None:
        """Something else than a batch norm reads a tensor."""
        maker = self._maker(self._of(tensor))
        if maker is not None:
            maker.alone = False

    def _maker(self, known: _Known | None) -> Layer | None:
        """The convolution whose output a tensor is."""
        giver = self._layers[known.giver] if known is not None and known.giver else None
        return None if giver is None or giver.kind == "norm" else giver

    def _used(self, tensor: Tensor, operation: Operation) -> None:
        """An operation reads a tensor."""
        known = self._of(tensor)
        if known is not None and known.giver is not None:
            self._layers[known.giver].readers.add(operation)

    def _of(self, value: Any) -> _Known | None:
        return self._known.get(id(value)) if isinstance(value, Tensor) else None

    def _named(self, weight: Any) -> str | None:
        return self._names.get(id(weight))

    def _note(self, tensor: Tensor, known: _Known) -> None:
        self._known[id(tensor)] = known


def _with(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return names if name in names else (*names, name)


def _set_depths(layers: dict[str, Layer]) -> None:
    """The number of convolutions on the longest way to each, layers called again counted once."""
    depths = dict.fromkeys(layers, 0)
    for _ in layers:  # as often at most, should a layer read its own output
        found = {
            name: max((1 + depths[before] for before in layer.before), default=0)
            for name, layer in layers.items()
        }
        if found == depths:
            break
        depths = found
    for name, layer in layers.items():
        layer.depth = depths[name]


def tensors(value: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [tensor for item in value for tensor in tensors(item)]
    return []
