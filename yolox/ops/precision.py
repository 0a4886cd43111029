"""Double precision on every device."""

from torch import Tensor


def to_float64(tensor: Tensor) -> Tensor:
    """The tensor in float64: on its own device, or on the CPU where that has none (MPS)."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
