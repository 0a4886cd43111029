"""The loss of a CenterNet, and the distance between the predictions of two of them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from yolox.families.base import CountMean, unchanged
from yolox.families.centernet.predictions import Raw, local_peaks
from yolox.families.centernet.targets import make_targets
from yolox.losses.divergence import divergence

ALPHA, GAMMA = 2.0, 4.0  # of the focal loss: of hard cells, of cells near a centre
SIZE_WEIGHT, OFFSET_WEIGHT = 0.1, 1.0


class CenterNetLoss:
    """Focal loss of the heatmap, L1 of sizes and offsets at centres (Zhou 2019).

    A criterion of a family, see `yolox.families.base`. stride: pixels per cell of the heatmap.
    """

    def __init__(self, stride: int):
        self._stride = stride
        self.mean_over_processes: CountMean = unchanged

    def __call__(self, raw: Raw, targets: Tensor, *, plain: bool = False) -> dict[str, Tensor]:
        """Scalars: total_loss, heat_loss, size_loss, offset_loss (weighted as in the total)."""
        heat, size, offset = (part.float() for part in raw)
        grid = (heat.shape[-2], heat.shape[-1])
        wanted = make_targets(targets.to(heat.dtype), heat.shape[1], self._stride, grid)
        peaks = self.mean_over_processes(wanted.peaks.to(heat.dtype)[None])[0].clamp(min=1.0)
        terms = {
            "heat_loss": focal_loss(heat, wanted.heat) / peaks,
            "size_loss": SIZE_WEIGHT * _l1(size, wanted.size, wanted.cell, wanted.is_kept) / peaks,
            "offset_loss": OFFSET_WEIGHT
            * _l1(offset, wanted.offset, wanted.cell, wanted.is_kept)
            / peaks,
        }
        return {"total_loss": torch.stack(list(terms.values())).sum(), **terms}

    def distance(self, own: Raw, wanted: Raw) -> Tensor:
        """How far raw predictions are from those of another model; zero only where both agree.

        Cross-entropy of the heatmaps; differences of sizes and offsets, weighted with the other's
        probability of a centre. Both over the sum of that probability at peaks, which stands for
        the number of objects.
        """
        sure = wanted.heat.float().sigmoid().amax(1, keepdim=True)
        peaks = local_peaks(sure).sum().clamp(min=1.0)
        heat = divergence(own.heat, wanted.heat).sum()
        size = ((own.size.float() - wanted.size.float()).abs() * sure).sum()
        offset = ((own.offset.float() - wanted.offset.float()).abs() * sure).sum()
        return (heat + SIZE_WEIGHT * size / 2 + OFFSET_WEIGHT * offset / 2) / peaks


def focal_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Of a heatmap of logits, summed: cells near a centre are blamed less for claiming one."""
    probability, is_centre = logits.sigmoid(), wanted == 1
    found = F.logsigmoid(logits) * (1 - probability) ** ALPHA
    claimed = F.logsigmoid(-logits) * probability**ALPHA * (1 - wanted) ** GAMMA
    return -torch.where(is_centre, found, claimed).sum()


def _l1(predicted: Tensor, wanted: Tensor, cell: Tensor, is_kept: Tensor) -> Tensor:
    """The mean over both coordinates, summed over objects. predicted: [B, 2, H, W]."""
    found = predicted.flatten(2).transpose(1, 2).gather(1, cell[..., None].expand(-1, -1, 2))
    return ((found - wanted).abs().mean(-1) * is_kept).sum()
