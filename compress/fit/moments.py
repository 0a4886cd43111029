"""First and second moments of what convolutions read and answer, summed over images.

A convolution is a linear map from patches to answers. With the moments of both, the best map is
the solution of a small system of equations, whatever the number of images was.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress.fit.scratch import Scratch
from yolox.models.channels import is_depthwise
from yolox.ops.precision import to_float64

PATCHES = 512  # positions taken of one image per layer: neighbours say nearly the same


class _Enough(Exception):  # noqa: N818 - not an error: the rest of the network is not needed
    """Raised by the hook of the last layer that is looked at."""


class Moments:
    """Sums over patches x [S, D] and answers y [S, O], of `blocks` independent maps.

    A plain convolution is one block; a depthwise one has a block per channel (D = k * k, O = 1).
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


class Spread:
    """Means and variances alone: of what each input position of a layer reads and it answers."""

    def __init__(self) -> None:
        self._count = 0
        self._sums: list[Tensor | float] = [0.0] * 4

    def add(self, x: Tensor, y: Tensor) -> None:
        """x: [blocks, S, D]; y: [blocks, S, O]."""
        self._count += x.shape[1]
        new = [x.sum(1), x.square().sum(1), y.sum(1), y.square().sum(1)]
        self._sums = [a + to_float64(b) for a, b in zip(self._sums, new, strict=True)]

    def variances(self) -> tuple[Tensor, Tensor]:
        """Of inputs [blocks, D] and answers [blocks, O]."""
        means = [total / self._count for total in self._sums]
        inputs, answers = means[1] - means[0] ** 2, means[3] - means[2] ** 2
        assert isinstance(inputs, Tensor)
        assert isinstance(answers, Tensor)
        return inputs.clamp(min=0), answers.clamp(min=0)


def spreads(
    model: nn.Module, names: Sequence[str], batches: Callable[[], Iterator[Tensor]]
) -> dict[str, Spread]:
    """What layers of a model read and answer, in one pass over the images."""
    found = {name: Spread() for name in names}

    def see(name: str, layer: Any, x: Tensor, y: Tensor) -> None:
        places = some_places(y)
        found[name].add(patches(layer, x, places), answers(layer, y.flatten(2)[:, :, places]))

    with watching(model, names, see) as run:
        for images in batches():
            run(images)
    return found


def weight_rows(conv: Any) -> Tensor:
    """The weight as maps [blocks, O, D] from patches to answers."""
    weight: Tensor = conv.weight.detach()
    return weight.flatten(1)[:, None, :] if is_depthwise(conv) else weight.flatten(1)[None]


def set_weight_rows(conv: Any, rows: Tensor) -> None:
    """Put maps [blocks, O, D] back into the weight."""
    conv.weight.data.copy_(rows.reshape(conv.weight.shape))


def patches(conv: Any, x: Tensor, places: Tensor) -> Tensor:
    """What a convolution reads at some output positions: [blocks, S, D] of inputs [B, C, H, W].

    places: flat output positions, the same in every image. D is in the order of the weight.
    """
    kernel, stride, padding = conv.kernel_size, conv.stride, conv.padding
    if kernel == (1, 1) and padding == (0, 0):
        found = x[..., :: stride[0], :: stride[1]].flatten(2)[:, :, places]
    else:
        found = F.unfold(x, kernel, conv.dilation, padding, stride)[:, :, places]
    if is_depthwise(conv):  # [B, C * k * k, S] -> [C, B * S, k * k]
        cells = kernel[0] * kernel[1]
        split = found.reshape(len(x), -1, cells, len(places))
        return split.permute(1, 0, 3, 2).reshape(split.shape[1], -1, cells)
    return found.permute(0, 2, 1).reshape(1, -1, found.shape[1])


def answers(conv: Any, y: Tensor) -> Tensor:
    """Outputs [B, O, places] at the same positions: [blocks, S, O]."""
    found = y.permute(1, 0, 2).flatten(1)  # [O, B * S]
    return found[:, :, None] if is_depthwise(conv) else found.T[None]


def some_places(y: Tensor) -> Tensor:
    """At most `PATCHES` flat positions of outputs [B, O, H, W]: random, but always the same."""
    cells = y.shape[-2] * y.shape[-1]
    if cells <= PATCHES:
        return torch.arange(cells, device=y.device)
    generator = torch.Generator().manual_seed(cells)
    return torch.randperm(cells, generator=generator)[:PATCHES].sort().values.to(y.device)


@contextmanager
def watching(
    model: nn.Module, names: Sequence[str], see: Callable[[str, Any, Tensor, Tensor], None]
) -> Iterator[Callable[[Tensor], None]]:
    """Gives a function that runs the model on images no further than to the named layers.

    see(name, layer, input, output) is called for each of them.
    """
    left: set[str] = set()

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def seen(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            see(name, layer, inputs[0], output)
            left.discard(name)
            if not left:
                raise _Enough

        return seen

    def run(images: Tensor) -> None:
        left.update(names)
        forward: Callable[[Tensor], Any] = getattr(model, "raw", model)
        try:
            with torch.no_grad():
                forward(images.contiguous(memory_format=torch.channels_last))
        except _Enough:
            pass

    handles = [model.get_submodule(name).register_forward_hook(hook(name)) for name in names]
    try:
        yield run
    finally:
        for handle in handles:
            handle.remove()


class Answers:
    """What the layers of a model answer to the calibration images, at some places, kept on disk.

    So the dense model runs once, and memory does not grow with the number of images.
    """

    def __init__(
        self, model: nn.Module, names: Sequence[str], batches: Callable[[], Iterator[Tensor]]
    ):
        self._scratch = Scratch()
        self._widths: dict[str, int] = {}
        files = {name: (self._scratch.path / name).open("wb") for name in names}

        def write(name: str, layer: Any, x: Tensor, y: Tensor) -> None:
            chosen = y.flatten(2)[:, :, some_places(y)].float().cpu().contiguous()
            self._widths[name] = chosen.shape[1]
            self._places[name] = chosen.shape[2]
            files[name].write(chosen.numpy().tobytes())

        self._places: dict[str, int] = {}
        with ExitStack() as stack:
            for file in files.values():
                stack.enter_context(file)
            run = stack.enter_context(watching(model, names, write))
            for images in batches():
                run(images)

    def of(self, name: str) -> npt.NDArray[np.float32]:
        """[images, O, places], read from the disk where it is used."""
        raw = np.memmap(self._scratch.path / name, np.float32, "r")
        return raw.reshape(-1, self._widths[name], self._places[name])


def joint_moments(
    reader: nn.Module,
    answered: Answers,
    kept_outputs: Mapping[str, Tensor | None],
    batches: Iterator[Tensor],
) -> dict[str, Moments]:
    """What layers of `reader` read, with what the dense model's layers answer there.

    kept_outputs: layer names -> the dense layer's outputs that matter (None: all).
    batches: images [B, 3, H, W] float, the same as for `answered`.
    """
    found = {name: Moments() for name in kept_outputs}
    first = 0

    def read(name: str, layer: Any, x: Tensor, y: Tensor) -> None:
        answer = torch.from_numpy(answered.of(name)[first : first + len(x)].copy()).to(x.device)
        kept = kept_outputs[name]
        answer = answer if kept is None else answer[:, kept]
        found[name].add(patches(layer, x, some_places(y)), answers(layer, answer))

    with watching(reader, list(kept_outputs), read) as run:
        for images in batches:
            run(images)
            first += len(images)
    return found
