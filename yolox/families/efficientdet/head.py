"""Two branches whose convolutions all levels share, with batch norms for each level."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolox.families.efficientdet.anchors import COUNT
from yolox.families.efficientdet.pyramid import LEVELS, Separable, batch_norm

PRIOR = 0.01  # first probability of each class (Lin 2017)


class Branch(nn.Module):
    """Predictions of `columns` values for each anchor."""

    def __init__(self, channels: int, repeats: int, columns: int):
        super().__init__()
        self.columns = columns
        self.tower = nn.ModuleList(Separable(channels, channels) for _ in range(repeats))
        self.norms = nn.ModuleList(
            nn.ModuleList(batch_norm(channels) for _ in range(LEVELS)) for _ in range(repeats)
        )
        self.predict = Separable(channels, COUNT * columns)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Maps of the levels -> [B, A, columns], in the order of `anchors`."""
        found = []
        for level, feature in enumerate(levels):
            x = feature
            for conv, norms in zip(self.tower, self.norms, strict=True):
                x = F.silu(norms[level](conv(x)))  # type: ignore[index]
            predicted = self.predict(x).permute(0, 2, 3, 1)
            found.append(predicted.reshape(x.shape[0], -1, self.columns))  # len() is a constant
        return torch.cat(found, dim=1)


class Head(nn.Module):
    """Logits of the classes, and boxes relative to their anchors."""

    def __init__(self, channels: int, repeats: int, classes: int):
        super().__init__()
        self.cls, self.box = Branch(channels, repeats, classes), Branch(channels, repeats, 4)
        bias = self.cls.predict.pointwise.bias
        nn.init.constant_(bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Maps of the levels -> [B, A, C] and [B, A, 4]."""
        return self.cls(levels), self.box(levels)
