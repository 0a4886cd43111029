"""Images as networks pretrained on ImageNet want them."""

import torch
from torch import Tensor, nn

MEAN = (123.675, 116.28, 103.53)  # of ImageNet, RGB, 0-255
DEVIATION = (58.395, 57.12, 57.375)


class ImageNetInput(nn.Module):
    """BGR images of 0-255 become RGB, less ImageNet's mean, in its standard deviations."""

    def __init__(self) -> None:
        super().__init__()
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 3, H, W]."""
        out: Tensor = (images.flip(1) - self.mean) / self.deviation  # type: ignore[operator]
        return out
