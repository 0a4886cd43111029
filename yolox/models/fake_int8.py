"""Training under 8 bits: layers compute with the rounding that an INT8 file of theirs has.

Quantisation-aware training (Jacob 2018): rounded in the forward pass, while gradients pass as if
nothing were rounded (straight-through, Bengio 2013), but for values beyond the range.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from yolox.models.fuse import Model, fuse

LEAST_SCALE = 1e-12
Module = TypeVar("Module", bound=nn.Module)


class FakeInt8:
    """Rounds what plain convolutions of a model compute with, within `with rounding.active()`.

    Weights to int8 per output channel (the same as rounding them with a batch norm folded in), and
    per tensor to uint8 what convolutions read and what batch norms give. Ranges are those of the
    batch, so there is nothing to calibrate, to store or to resume. Copies of the model that are
    used elsewhere are not rounded.
    """

    def __init__(self, model: nn.Module):
        self._on = False
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_pre_hook(self._before)
                layer.register_forward_hook(self._after, always_call=True)
            elif isinstance(layer, nn.BatchNorm2d):
                layer.register_forward_hook(self._given)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Round, for the time of a block."""
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def always(self) -> None:
        """Round from now on."""
        self._on = True

    def _before(self, layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not self._on:
            return None
        # Hides the parameter, which stays registered, until `_after`.
        layer.__dict__["weight"] = round_int8(layer._parameters["weight"])  # type: ignore[arg-type]
        return (round_in_own_range(inputs[0]), *inputs[1:])

    def _after(self, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        layer.__dict__.pop("weight", None)

    def _given(self, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
        return round_in_own_range(output).to(output.dtype) if self._on else None


def as_int8(model: Module) -> Module:
    """The model itself, which from now on computes with 8 bits wherever it is asked."""
    FakeInt8(model).always()
    return model


def as_used(model: Model, int8: bool) -> Model:
    """A fused copy to judge a model by; for an INT8 file, it computes with 8 bits."""
    fused = fuse(model)
    return as_int8(fused) if int8 else fused


def round_int8(weight: Tensor) -> Tensor:
    """[O, I, h, w] on 255 levels, symmetric, each output channel with a scale of its own."""
    weight = weight.float()
    scale = weight.detach().flatten(1).abs().amax(dim=1).clamp(min=LEAST_SCALE) / 127
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -127, 127)


def round_uint8(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Any shape, on 256 levels from `low` to `high` (scalars), zero among them."""
    scale = ((high - low) / 255).clamp(min=LEAST_SCALE)
    zero = (-low / scale).round().clamp(0, 255).int()
    return torch.fake_quantize_per_tensor_affine(values.float(), scale, zero, 0, 255)


def round_in_own_range(values: Tensor) -> Tensor:
    """Any shape, on 256 levels from its lowest to its highest value, zero among them."""
    low, high = values.detach().float().aminmax()
    return round_uint8(values, low.clamp(max=0), high.clamp(min=0))
