"""Torchvision's networks, and a neck of deformable convolutions that enlarges their feature."""

from collections import OrderedDict
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torchvision import models

from yolox.errors import UsageError
from yolox.families.centernet.deformable import DeformableConv

NECK_WIDTHS = (256, 128, 64)
CLASSIFIER = ("avgpool", "fc", "classifier")  # torchvision's names of what a detector leaves out


def torchvision_features(name: str) -> tuple[nn.Sequential, int]:
    """The layers of a network up to its last feature, under torchvision's names, and its channels.

    The feature's stride is 32.
    """
    network: Any = getattr(models, name)(weights=None)
    if hasattr(network, "features"):
        layers = OrderedDict(features=network.features)
    else:
        layers = OrderedDict((k, m) for k, m in network.named_children() if k not in CLASSIFIER)
    features = nn.Sequential(layers)
    norms = [m for m in features.modules() if isinstance(m, nn.BatchNorm2d)]
    return features, norms[-1].num_features


def torchvision_weights(name: str) -> Mapping[str, Tensor]:
    """ImageNet's weights of a network, from torch's cache or downloaded.

    Raises UsageError where they cannot be had.
    """
    try:
        found: Mapping[str, Tensor] = models.get_model_weights(name).DEFAULT.get_state_dict(
            progress=False, check_hash=True
        )
    except (OSError, RuntimeError) as error:
        raise UsageError(f"pretrained weights of {name} cannot be had: {error}") from error
    return found


class UpBlock(nn.Module):
    """A deformable convolution, and a transposed one that doubles the size."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.offset = nn.Conv2d(inputs, 27, 3, padding=1)
        self.deform = DeformableConv(inputs, outputs)
        self.deform_norm = nn.BatchNorm2d(outputs)
        self.up = nn.ConvTranspose2d(outputs, outputs, 4, 2, 1, bias=False)
        self.up_norm = nn.BatchNorm2d(outputs)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, 2 H, 2 W]."""
        places, mask = self.offset(x).split([18, 9], dim=1)
        moved = self.deform(x, places, mask.sigmoid())
        out: Tensor = self.up_norm(self.up(self.deform_norm(moved).relu())).relu()
        return out


class UpsampledBackbone(nn.Module):
    """One of torchvision's networks with three such blocks behind it."""

    out_channels = NECK_WIDTHS[-1]

    def __init__(self, name: str):
        super().__init__()
        self.body, width = torchvision_features(name)
        widths = (width, *NECK_WIDTHS)
        self.neck = nn.Sequential(*(UpBlock(a, b) for a, b in pairwise(widths)))

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, out_channels, H / 4, W / 4]."""
        out: Tensor = self.neck(self.body(x))
        return out
