"""What cutting, fusing and measuring need to know of a network."""

from typing import Any

from torch import Tensor, nn


class Network(nn.Module):
    """Images in, raw predictions out.

    divisor: height and width of an input must be multiples of it.
    head_keys: beginnings of the names of layers that weight masks leave alone by default.
    """

    divisor: int = 32
    head_keys: tuple[str, ...] = ()

    def raw(self, images: Tensor) -> Any:
        """What the network predicts for images [B, 3, H, W] before it is decoded: any tensors."""
        raise NotImplementedError
