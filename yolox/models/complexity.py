"""Parameters and operations of a model, with the convention named."""

import copy
import warnings
from typing import NamedTuple

import torch
from torch import nn


class Complexity(NamedTuple):
    """parameters, those that are not zero, and MACs (thop's count) of one image of a given size."""

    params: int
    nonzero: int
    macs: float

    @property
    def gflops(self) -> float:
        """10^9 operations, as YOLOX states them: 2 x MACs, batch norm and pooling included."""
        return self.macs * 2 / 1e9


def count_parameters(model: nn.Module) -> int:
    """Number of learnable values (buffers are not counted)."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_nonzero(model: nn.Module) -> int:
    """Number of learnable values that are not zero."""
    return sum(int(torch.count_nonzero(parameter)) for parameter in model.parameters())


def complexity(model: nn.Module, size_hw: tuple[int, int]) -> Complexity:
    """Measure a model for one image of `size_hw` pixels. The model itself is left as it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # thop uses deprecated version classes when imported
        from thop import profile  # noqa: PLC0415

        probe = copy.deepcopy(model).eval()
        device = next(probe.parameters()).device
        image = torch.zeros(1, 3, *size_hw, device=device)
        with torch.no_grad():
            macs, _ = profile(probe, inputs=(image,), verbose=False)
    return Complexity(count_parameters(model), count_nonzero(model), float(macs))


def describe(found: Complexity, size_hw: tuple[int, int]) -> str:
    """One line for the log."""
    height, width = size_hw
    return (
        f"{found.params / 1e6:.3f} M parameters ({found.nonzero / 1e6:.3f} M not zero), "
        f"{found.gflops:.3f} GFLOPs at {height} x {width} (thop, 2 x MACs)"
    )
