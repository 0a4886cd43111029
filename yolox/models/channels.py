"""Models with fewer channels than their spec builds: which ones are kept, layer by layer.

A pruned architecture is its spec and its channels: build the dense model, cut it, load strictly.
Indices are those of the dense model, however often it was pruned.
"""

import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from yolox.errors import ModelError
from yolox.models.copies import copied

# layer name -> {"out": kept output channels, "in": kept input channels}; a side not named is whole.
# A depthwise convolution and a batch norm have "out" only.
Channels = Mapping[str, Mapping[str, Sequence[int]]]

Model = TypeVar("Model", bound=nn.Module)


def is_convolution(layer: nn.Module) -> bool:
    """Whether a layer is a convolution: plain, transposed or deformable."""
    return isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) or _is_deformable(layer)


def _is_deformable(layer: nn.Module) -> bool:
    """Torchvision takes a second to import: who has such a layer has imported it."""
    ops = sys.modules.get("torchvision.ops")
    return ops is not None and isinstance(layer, ops.DeformConv2d)


def is_depthwise(layer: nn.Module) -> bool:
    """Whether every output channel of a convolution reads one input channel only.

    There may be several outputs of each input: as many for each, side by side.
    """
    if not (isinstance(layer, nn.Conv2d) or _is_deformable(layer)):
        return False
    conv: Any = layer
    return bool(conv.groups == conv.in_channels > 1)


def is_plain_norm(layer: nn.Module) -> bool:
    """Whether a layer is a batch norm and nothing more: some packages' apply an activation, too."""
    return isinstance(layer, nn.BatchNorm2d) and type(layer).forward is nn.BatchNorm2d.forward


def per_output(conv: Any, values: Tensor) -> Tensor:
    """Values [O] of output channels in a shape that multiplies the weight of a convolution."""
    if not isinstance(conv, nn.ConvTranspose2d):
        return values[:, None, None, None]
    grouped = values.reshape(conv.groups, 1, -1).expand(-1, conv.in_channels // conv.groups, -1)
    return grouped.reshape(conv.in_channels, -1)[
        :, :, None, None
    ]  # weight [in, out / groups, k, k]


def filters(conv: Any) -> Tensor:
    """The weight of a convolution by output channel: [O, in / groups, k, k]."""
    weight: Tensor = conv.weight
    if not isinstance(conv, nn.ConvTranspose2d):
        return weight
    inputs, outputs, *kernel = weight.shape
    grouped = weight.reshape(conv.groups, inputs // conv.groups, outputs, *kernel)
    return grouped.transpose(1, 2).reshape(conv.groups * outputs, -1, *kernel)


def cut_channels(model: Model, channels: Channels) -> Model:
    """A new model with the kept channels only, and their weights.

    Raises ModelError naming the layer that is absent, cannot be cut, or has no such channels.
    """
    return cut_in_place(copied(model), channels)


def cut_in_place(model: Model, channels: Channels) -> Model:
    """The same of a model that nobody else uses, which is changed: a quicker `cut_channels`."""
    for name, kept in channels.items():
        _cut_layer(_layer(model, name), name, kept)
    return model


def cut_masks(
    masks: Mapping[str, Tensor], model: nn.Module, channels: Channels
) -> dict[str, Tensor]:
    """Weight masks of `model` for the model that `cut_channels` makes of it."""
    cut = dict(masks)
    for name, kept in channels.items():
        for key, sides in _tensors(_layer(model, name), name).items():
            full = f"{name}.{key}"
            if full in cut:
                cut[full] = _cut(cut[full], sides, kept)
    return cut


def compose(first: Channels, second: Channels) -> dict[str, dict[str, list[int]]]:
    """The channels of a model cut by `first` and then, counted in what was left, by `second`."""
    composed = {name: {side: list(kept) for side, kept in c.items()} for name, c in first.items()}
    for name, sides in second.items():
        own = composed.setdefault(name, {})
        for side, kept in sides.items():
            own[side] = [own[side][i] for i in kept] if side in own else list(kept)
    return composed


def relative_channels(before: Channels, after: Channels) -> dict[str, dict[str, list[int]]]:
    """The channels of a pruned model, counted in the one it was made from: undoes `compose`.

    Raises ModelError where they are none of that model's.
    """
    relative = {layer: {side: list(kept) for side, kept in s.items()} for layer, s in after.items()}
    for layer, sides in before.items():
        for side, had in sides.items():
            kept = after.get(layer, {}).get(side)
            place = {channel: i for i, channel in enumerate(had)}
            if kept is None or not set(kept) <= set(place):
                raise ModelError(f"{layer} has channels that the other has not")
            relative[layer][side] = [place[channel] for channel in kept]
    return relative


def _layer(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise ModelError(f"channels: this architecture has no layer {name}") from error


def _tensors(layer: nn.Module, name: str) -> dict[str, tuple[str | None, ...]]:
    """The tensors of a layer and the side that each of their first dimensions belongs to."""
    if isinstance(layer, nn.BatchNorm2d):
        keys = ("weight", "bias", "running_mean", "running_var")
        return {key: ("out",) for key in keys if getattr(layer, key) is not None}
    if not is_convolution(layer):
        raise ModelError(f"channels: {name} is a {type(layer).__name__}, which cannot be cut")
    if is_depthwise(layer):
        found: dict[str, tuple[str | None, ...]] = {"weight": ("out", None)}
    elif layer.groups != 1:
        raise ModelError(f"channels: {name} has {layer.groups} groups, which cannot be cut")
    else:
        transposed = isinstance(layer, nn.ConvTranspose2d)
        found = {"weight": ("in", "out") if transposed else ("out", "in")}
    return found if layer.bias is None else {**found, "bias": ("out",)}


def _cut_layer(layer: Any, name: str, kept: Mapping[str, Sequence[int]]) -> None:
    tensors = _tensors(layer, name)
    for side, indices in kept.items():
        if side not in {s for sides in tensors.values() for s in sides}:
            raise ModelError(f"channels: {name} has no side {side!r}")
        _require_subset(indices, _width(layer, side), f"{name}, {side}")
    for key, sides in tensors.items():
        tensor = getattr(layer, key)
        smaller = _cut(tensor.detach(), sides, kept)
        if isinstance(tensor, nn.Parameter):
            setattr(layer, key, nn.Parameter(smaller, tensor.requires_grad))
        else:
            setattr(layer, key, smaller)
    if isinstance(layer, nn.BatchNorm2d):
        layer.num_features = len(kept["out"])
        return
    if is_depthwise(layer):
        _cut_depthwise(layer, name, kept["out"])
        return
    layer.out_channels = len(kept["out"]) if "out" in kept else layer.out_channels
    layer.in_channels = len(kept["in"]) if "in" in kept else layer.in_channels


def _cut_depthwise(layer: Any, name: str, kept: Sequence[int]) -> None:
    """Set the numbers of channels. Raises ModelError where an input loses a part of its outputs."""
    each = layer.out_channels // layer.in_channels
    inputs = [channel // each for channel in kept[::each]]
    if list(kept) != [each * channel + number for channel in inputs for number in range(each)]:
        raise ModelError(f"channels: {name} keeps some of an input's {each} outputs, not all")
    layer.groups = layer.in_channels = len(inputs)
    layer.out_channels = len(kept)


def _width(layer: Any, side: str) -> int:
    if isinstance(layer, nn.BatchNorm2d):
        return layer.num_features
    width: int = layer.out_channels if side == "out" else layer.in_channels
    return width


def _require_subset(indices: Sequence[int], width: int, where: str) -> None:
    """Raises ModelError unless the indices are ascending, within the width, and at least one."""
    if not indices:
        raise ModelError(f"channels: {where} keeps nothing")
    ascending = all(a < b for a, b in pairwise(indices))
    if not ascending or indices[0] < 0 or indices[-1] >= width:
        raise ModelError(f"channels: {where} names channels that are not among {width}")


def _cut(tensor: Tensor, sides: Sequence[str | None], kept: Mapping[str, Sequence[int]]) -> Tensor:
    for dim, side in enumerate(sides):
        if side is not None and side in kept:
            index = torch.as_tensor(kept[side], dtype=torch.long, device=tensor.device)
            tensor = tensor.index_select(dim, index)
    return tensor.clone()
