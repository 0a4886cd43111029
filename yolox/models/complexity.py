"""Parameters and operations of a model, with the convention named."""

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from yolox.models.channels import is_convolution
from yolox.models.copies import copied
from yolox.models.network import Network


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

        probe = copied(model).eval()
        device = next(probe.parameters()).device
        image = torch.zeros(1, 3, *size_hw, device=device)
        kinds = {type(layer) for layer in probe.modules() if is_convolution(layer)}
        with torch.no_grad():
            macs, _ = profile(
                probe, inputs=(image,), verbose=False, custom_ops=dict.fromkeys(kinds, _add_macs)
            )
    return Complexity(count_parameters(model), count_nonzero(model), float(macs))


def _add_macs(conv: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    """As thop counts convolutions: those of other packages, too, which it passes over.

    Transposed ones by their inputs, each of which is multiplied with the whole kernel.
    """
    kernel = conv.kernel_size[0] * conv.kernel_size[1]
    if isinstance(conv, nn.ConvTranspose2d):
        conv.total_ops += inputs[0].numel() * (conv.out_channels // conv.groups) * kernel
    else:
        conv.total_ops += output.numel() * (conv.in_channels // conv.groups) * kernel


SOURCE_SIDE = 64  # pixels of the square that operations are counted on and scaled from


def source_gflops(model: Network, size_hw: tuple[int, int]) -> float:
    """10^9 operations as the YOLOX-nano variants' authors state them.

    2 x (MACs and biases of convolutions + 2 for each value that a batch norm gives), counted at 64
    x 64 and scaled to the size. Of the model before batch norm is folded in.
    """
    count = 0.0

    def add(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal count
        if isinstance(layer, nn.BatchNorm2d):
            count += 2 * output.numel()
        elif isinstance(layer, nn.Conv2d):
            each = layer.weight[0].numel() + (layer.bias is not None)
            count += each * output.numel()

    probe = copied(model).eval()
    for layer in probe.modules():
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
            layer.register_forward_hook(add)
    device = next(probe.parameters()).device
    with torch.no_grad():
        probe.raw(torch.zeros(1, 3, SOURCE_SIDE, SOURCE_SIDE, device=device))
    return 2 * count * size_hw[0] * size_hw[1] / SOURCE_SIDE**2 / 1e9


def describe(found: Complexity, size_hw: tuple[int, int]) -> str:
    """One line for the log."""
    height, width = size_hw
    return (
        f"{found.params / 1e6:.3f} M parameters ({found.nonzero / 1e6:.3f} M not zero), "
        f"{found.gflops:.3f} GFLOPs at {height} x {width} (thop, 2 x MACs)"
    )
