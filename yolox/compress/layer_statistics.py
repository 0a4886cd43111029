"""First and second moments of what convolutions read and put out, summed over images.

A convolution is a linear map from patches to outputs. With the moments of both, the best map is
the solution of a small system of equations, whatever the number of images was.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolox.files import TemporaryFolder
from yolox.models.channels import is_depthwise
from yolox.models.network import Network
from yolox.ops.precision import to_float64

PATCHES = 512  # positions taken of one image per layer: neighbours say nearly the same


class _LastLayerReached(Exception):  # noqa: N818 - not an error: the rest of the network is not needed
    """Raised by the hook of the last layer that is looked at."""


class Call(NamedTuple):
    """One call of a layer in a run of a model; `number` counts the layer's calls from 0."""

    name: str
    number: int
    layer: Any
    inputs: Tensor
    output: Tensor


def solvable(layer: nn.Module) -> bool:
    """Whether a layer is a linear map from patches to outputs: a plain or depthwise convolution.

    Those of other packages may pad by a rule of their own.
    """
    return (
        isinstance(layer, nn.Conv2d)
        and type(layer).forward is nn.Conv2d.forward
        and (layer.groups == 1 or is_depthwise(layer))
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


class Rows(Protocol):
    """What can be given patches and outputs, as `LayerStatistics` can."""

    def add(self, x: Tensor, y: Tensor) -> None: ...


class LayerStatistics:
    """Sums over patches x [S, D] and outputs y [S, O], of `blocks` independent maps.

    A plain convolution is one block; a depthwise one has a block per output (D = k * k, O = 1).
    Sums are kept in float64.
    """

    def __init__(self) -> None:
        self.count = 0
        self.x: Tensor | float = 0.0  # [blocks, D]
        self.y: Tensor | float = 0.0  # [blocks, O]
        self.xx: Tensor | float = 0.0  # [blocks, D, D]
        self.xy: Tensor | float = 0.0  # [blocks, D, O]
        self.yy: Tensor | float = 0.0  # [blocks, O]

    def add(self, x: Tensor, y: Tensor) -> None:
        """x: [blocks, S, D]; y: [blocks, S, O]."""
        self.count += x.shape[1]
        self.x = self.x + to_float64(x.sum(1))
        self.y = self.y + to_float64(y.sum(1))
        self.xx = self.xx + to_float64(x.mT @ x)
        self.xy = self.xy + to_float64(x.mT @ y)
        self.yy = self.yy + to_float64(y.square().sum(1))

    def centred(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Means of x and y, covariance of x, covariance of x with y, variance of y."""
        assert isinstance(self.x, Tensor)
        assert isinstance(self.y, Tensor)
        mean_x, mean_y = self.x / self.count, self.y / self.count
        cov_xx = self.xx / self.count - mean_x[:, :, None] * mean_x[:, None, :]
        cov_xy = self.xy / self.count - mean_x[:, :, None] * mean_y[:, None, :]
        var_y = (self.yy / self.count - mean_y**2).clamp(min=0)
        return mean_x, mean_y, cov_xx, cov_xy, var_y


class LayerVariances:
    """Means and variances alone: of a layer's input positions and of its outputs."""

    def __init__(self) -> None:
        self._count = 0
        self._sums: list[Tensor | float] = [0.0] * 4

    def add(self, x: Tensor, y: Tensor) -> None:
        """x: [blocks, S, D]; y: [blocks, S, O]."""
        self._count += x.shape[1]
        new = [x.sum(1), x.square().sum(1), y.sum(1), y.square().sum(1)]
        self._sums = [a + to_float64(b) for a, b in zip(self._sums, new, strict=True)]

    def variances(self) -> tuple[Tensor, Tensor]:
        """Of inputs [blocks, D] and outputs [blocks, O]."""
        means = [total / self._count for total in self._sums]
        inputs, outputs = means[1] - means[0] ** 2, means[3] - means[2] ** 2
        assert isinstance(inputs, Tensor)
        assert isinstance(outputs, Tensor)
        return inputs.clamp(min=0), outputs.clamp(min=0)


def layer_variances(
    model: Network, names: Sequence[str], batches: Callable[[], Iterator[Tensor]]
) -> dict[str, LayerVariances]:
    """What layers of a model read and put out, over all their calls, in one pass over the images.

    Layers that are not `solvable`, or are never called, are left out.
    """
    found: dict[str, LayerVariances] = defaultdict(LayerVariances)

    def see(call: Call) -> None:
        positions = sampled_positions(call.output)
        found[call.name].add(
            patches(call.layer, call.inputs, positions),
            output_rows(call.layer, call.output.flatten(2)[:, :, positions]),
        )

    solved = [name for name in names if solvable(model.get_submodule(name))]
    with observed_calls(model, solved, see) as run:
        for images in batches():
            run(images)
    return dict(found)


def weight_matrix(conv: Any) -> Tensor:
    """The weight as maps [blocks, O, D] from patches to outputs."""
    weight: Tensor = conv.weight.detach()
    return weight.flatten(1)[:, None, :] if is_depthwise(conv) else weight.flatten(1)[None]


def set_weight_matrix(conv: Any, rows: Tensor) -> None:
    """Put maps [blocks, O, D] back into the weight."""
    conv.weight.data.copy_(rows.reshape(conv.weight.shape))


def patches(conv: Any, x: Tensor, positions: Tensor) -> Tensor:
    """What a convolution reads at some output positions: [blocks, S, D] of inputs [B, C, H, W].

    positions: flat output positions, the same in every image. D is in the order of the weight.
    """
    kernel, stride, padding = conv.kernel_size, conv.stride, conv.padding
    if kernel == (1, 1) and padding == (0, 0):
        found = x[..., :: stride[0], :: stride[1]].flatten(2)[:, :, positions]
    else:
        found = F.unfold(x, kernel, conv.dilation, padding, stride)[:, :, positions]
    if is_depthwise(conv):  # [B, C * k * k, S] -> [C, B * S, k * k]
        cells = kernel[0] * kernel[1]
        split = found.reshape(len(x), -1, cells, len(positions))
        blocks = split.permute(1, 0, 3, 2).reshape(split.shape[1], -1, cells)
        return blocks.repeat_interleave(conv.out_channels // conv.in_channels, dim=0)
    return found.permute(0, 2, 1).reshape(1, -1, found.shape[1])


def output_rows(conv: Any, y: Tensor) -> Tensor:
    """Outputs [B, O, positions] at the same positions: [blocks, S, O]."""
    found = y.permute(1, 0, 2).flatten(1)  # [O, B * S]
    return found[:, :, None] if is_depthwise(conv) else found.T[None]


def sampled_positions(y: Tensor) -> Tensor:
    """At most `PATCHES` flat positions of outputs [B, O, H, W]: random, but always the same."""
    cells = y.shape[-2] * y.shape[-1]
    if cells <= PATCHES:
        return torch.arange(cells, device=y.device)
    generator = torch.Generator().manual_seed(cells)
    return torch.randperm(cells, generator=generator)[:PATCHES].sort().values.to(y.device)


@contextmanager
def observed_calls(
    model: Network, names: Sequence[str], see: Callable[[Call], None]
) -> Iterator[Callable[[Tensor], None]]:
    """Gives a function that runs the model on images, `see` looking at every call of some layers.

    The first run counts the calls; those that follow go no further than to the last of them.
    """
    calls: Counter[str] = Counter()  # in the run at hand
    last: int | None = None

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def seen(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            see(Call(name, calls[name], layer, inputs[0], output))
            calls[name] += 1
            if calls.total() == last:
                raise _LastLayerReached

        return seen

    def run(images: Tensor) -> None:
        nonlocal last
        calls.clear()
        try:
            with torch.no_grad():
                model.raw(images.contiguous(memory_format=torch.channels_last))
        except _LastLayerReached:
            pass
        last = calls.total()

    handles = [model.get_submodule(name).register_forward_hook(hook(name)) for name in names]
    try:
        yield run
    finally:
        for handle in handles:
            handle.remove()


class RecordedOutputs:
    """The outputs of a model's layers for the calibration images, at some positions, kept on disk.

    So the dense model runs once, and memory does not grow with the number of images.
    """

    def __init__(
        self, model: Network, names: Sequence[str], batches: Callable[[], Iterator[Tensor]]
    ):
        self._folder = TemporaryFolder()
        self._shapes: dict[tuple[str, int], tuple[int, ...]] = {}  # [O, positions] of each call
        files: dict[tuple[str, int], BinaryIO] = {}
        with ExitStack() as stack:

            def write(call: Call) -> None:
                key, y = (call.name, call.number), call.output
                if key not in files:
                    files[key] = stack.enter_context(self._path(*key).open("wb"))
                chosen = y.flatten(2)[:, :, sampled_positions(y)].float().cpu().contiguous()
                self._shapes[key] = tuple(chosen.shape[1:])
                files[key].write(chosen.numpy().tobytes())

            run = stack.enter_context(observed_calls(model, names, write))
            for images in batches():
                run(images)

    def rows(self, name: str) -> int:
        """Positions of all images, over all of a layer's calls."""
        calls = (self.of(*key) for key in self._shapes if key[0] == name)
        return sum(len(values) * values.shape[2] for values in calls)

    def of(self, name: str, number: int = 0) -> npt.NDArray[np.float32]:
        """[images, O, positions] of one of a layer's calls, read from the disk where it is used."""
        raw = np.memmap(self._path(name, number), np.float32, "r")
        return raw.reshape(-1, *self._shapes[name, number])

    def _path(self, name: str, number: int) -> Path:
        return self._folder.path / f"{name}@{number}"


def layer_statistics(
    reader: Network,
    recorded: RecordedOutputs,
    kept_outputs: Mapping[str, Tensor | None],
    batches: Iterator[Tensor],
    samples: Mapping[str, Rows] = MappingProxyType({}),
) -> dict[str, LayerStatistics]:
    """What layers of `reader` read in all their calls, with the dense model's outputs there.

    kept_outputs: layer names -> the dense layer's outputs that matter (None: all).
    batches: images [B, 3, H, W] float, the same as for `recorded`. samples: by layer, what is given
    the same rows, besides.
    """
    found = {name: LayerStatistics() for name in kept_outputs}
    first = 0

    def read(call: Call) -> None:
        name, x = call.name, call.inputs
        wanted = recorded.of(name, call.number)[first : first + len(x)]
        output = torch.from_numpy(wanted.copy()).to(x.device)
        kept = kept_outputs[name]
        output = output if kept is None else output[:, kept]
        read = patches(call.layer, x, sampled_positions(call.output))
        rows = output_rows(call.layer, output)
        found[name].add(read, rows)
        if name in samples:
            samples[name].add(read, rows)

    with observed_calls(reader, list(kept_outputs), read) as run:
        for images in batches:
            run(images)
            first += len(images)
    return found
