"""What cutting, fusing and measuring need to know of a network."""

from typing import Any

from torch import Tensor, nn


class Network(nn.Module):
    """Images in, raw predictions out.

    divisor: height and width of an input must be multiples of it.
    """

    divisor: int = 32

    def raw(self, images: Tensor) -> Any:
        """What the network predicts for images [B, 3, H, W] before it is decoded: any tensors."""
        raise NotImplementedError
