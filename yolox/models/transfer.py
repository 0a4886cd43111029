"""Weights of one architecture for another one: what fits, and what starts anew."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolox.models.blocks import MixedConv

KERNEL_DIMS = 4


class Transfer(NamedTuple):
    """State of a model, by key, in which `taken` come from elsewhere.

    enlarged: those among them whose kernels stand in the middle of larger ones, with zeros around.
    """

    state: dict[str, Tensor]
    taken: list[str]
    enlarged: list[str]

    @property
    def share(self) -> float:
        """Values taken, as a share of all."""
        total = sum(value.numel() for value in self.state.values())
        return sum(self.state[key].numel() for key in self.taken) / max(total, 1)


def fitting(model: nn.Module, state: Mapping[str, Tensor]) -> Transfer:
    """What a model can take over of a state.

    Tensors of the same name and shape; kernels of another size in the middle of larger ones; and
    the depthwise half of a separable convolution for a depthwise or mixed one in its place.
    """
    own = dict(model.state_dict())
    sources = dict(_sources(model, state))
    taken, enlarged = [], []
    for key, value in own.items():
        found = sources.get(key, state.get(key))
        if found is None or found.is_floating_point() != value.is_floating_point():
            continue
        if found.shape == value.shape:
            own[key] = found
        elif (larger := _enlarged(found, value.shape)) is not None:
            own[key] = larger
            enlarged.append(key)
        else:
            continue
        taken.append(key)
    return Transfer(own, taken, enlarged)


def _sources(model: nn.Module, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Tensors of separable convolutions by the keys of what takes their place in the model."""
    for name, module in model.named_modules():
        if isinstance(module, MixedConv):
            start = 0
            for number, part in enumerate(module.parts):
                stop = start + int(part.conv.in_channels)  # type: ignore[union-attr,arg-type]
                for key in part.state_dict():
                    found = state.get(f"{name}.dconv.{key}")
                    if found is not None:
                        yield (
                            f"{name}.parts.{number}.{key}",
                            found[start:stop] if found.dim() else found,
                        )
                start = stop
        elif f"{name}.dconv.conv.weight" in state and not hasattr(module, "dconv"):
            for key in module.state_dict():
                if (found := state.get(f"{name}.dconv.{key}")) is not None:
                    yield f"{name}.{key}", found


def _enlarged(kernel: Tensor, shape: torch.Size) -> Tensor | None:
    """A kernel with zeros around it, None where it cannot have the shape."""
    if kernel.dim() != KERNEL_DIMS or kernel.shape[:2] != shape[:2]:
        return None
    height, width = shape[2] - kernel.shape[2], shape[3] - kernel.shape[3]
    if min(height, width) < 0 or height % 2 or width % 2:
        return None
    return F.pad(kernel, (width // 2, width // 2, height // 2, height // 2))
