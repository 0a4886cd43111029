"""What cutting, fusing and measuring need to know of a network."""

from typing import Any

from torch import Tensor, nn


class Network(nn.Module):
    """Images in, raw predictions out.

    divisor: height and width of an input must be multiples of it.
    head_keys: beginnings of the names of layers that weight masks leave alone by default.
    image_channels: of what it takes.
    """

    divisor: int = 32
    image_channels: int = 3
    head_keys: tuple[str, ...] = ()

    def raw(self, images: Tensor) -> Any:
        """What the network predicts for images [B, C, H, W] before it is decoded: any tensors."""
        raise NotImplementedError
