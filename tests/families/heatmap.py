"""A toy family: a heatmap of centres at stride 8, without objectness or anchors.

It has what networks of other people have: learnt weights of a sum, squeeze and excitation, a
transposed convolution, and the normalisation of images inside.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolox.exp import BaseExp, options_of
from yolox.families import Detector, DetectorSpec
from yolox.families.base import unchanged

STRIDE = 8
NEAR = 2.0  # standard deviation of a centre in the wanted heatmap, in cells


@dataclass(frozen=True)
class HeatmapSpec(DetectorSpec):
    """breadth: channels of the features."""

    family = "toy-heatmap"
    breadth: int = 16

    @property
    def divisor(self):
        return 2 * STRIDE

    def build(self):
        return HeatmapDetector(self)


class Raw(NamedTuple):
    """heat [B, C, H, W] logits of centres; box [B, 4, H, W]: offsets and logarithms of sizes."""

    heat: Tensor
    box: Tensor


def block(inputs, outputs, kernel=3, stride=1, groups=1):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, width):
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(width, width // 2, 1), nn.Conv2d(width // 2, width, 1)

    def forward(self, x):
        gate = self.squeeze(x.mean((2, 3), keepdim=True)).relu()
        return x * self.excite(gate).sigmoid()


class HeatmapDetector(Detector):
    """Features of strides 8 and 16 are added with learnt weights."""

    class_keys = ("heat.",)
    head_keys = ("heat.", "box.")
    strides = (STRIDE,)

    def __init__(self, spec):
        super().__init__()
        width, self.divisor = spec.breadth, spec.divisor
        self.stem = nn.Sequential(block(3, width, 3, 2), block(width, width, 3, 2))
        self.fine = nn.Sequential(block(width, 2 * width, 3, 2), Gate(2 * width))
        self.coarse = block(2 * width, 2 * width, 3, 2)
        self.up = nn.ConvTranspose2d(2 * width, 2 * width, 4, 2, 1, bias=False)
        self.up_norm = nn.BatchNorm2d(2 * width)
        self.shares = nn.Parameter(torch.ones(2))
        self.tower = block(2 * width, 2 * width)
        self.heat = nn.Conv2d(2 * width, spec.num_classes, 1)
        self.box = nn.Conv2d(2 * width, 4, 1)
        nn.init.constant_(self.heat.bias, -3.0)
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 114.0), persistent=False)
        self.register_buffer("std", torch.full((1, 3, 1, 1), 58.0), persistent=False)

    @property
    def feature_readers(self):
        return ["tower.0"]

    def raw(self, images):
        fine = self.fine(self.stem((images - self.mean) / self.std))
        up = self.up_norm(self.up(self.coarse(fine))).relu()
        shares = self.shares.relu()
        shares = shares / (shares.sum() + 1e-4)
        features = self.tower(shares[0] * fine + shares[1] * up)
        return Raw(self.heat(features), self.box(features))

    def decode(self, raw, size_hw):
        heat, box = raw.heat.float().flatten(2).mT, raw.box.float().flatten(2).mT
        ones = torch.ones_like(box[..., :1])
        cells = centres(size_hw, box)
        xy, wh = (cells + box[..., :2]) * STRIDE, box[..., 2:].clamp(max=10).exp() * STRIDE
        return torch.cat([xy, wh, ones, heat.sigmoid()], dim=-1)


def centres(size_hw, like):
    """[H * W, 2]: x and y of the cells of an image, in cells."""
    height, width = size_hw[0] // STRIDE, size_hw[1] // STRIDE
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=-1).to(like) + 0.5


class HeatmapLoss:
    """A Gaussian around every centre is wanted; boxes are learnt where the centres are."""

    mean_over_processes = staticmethod(unchanged)

    def __call__(self, raw, targets, *, plain=False):
        heat, box = raw.heat.float(), raw.box.float()
        wanted, where, boxes = torch.zeros_like(heat), [], []
        height, width = heat.shape[-2:]
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        for image, rows in enumerate(targets):
            for label, cx, cy, w, h in rows[(rows[:, 3] > 0) & (rows[:, 4] > 0)].tolist():
                column = min(max(int(cx / STRIDE), 0), width - 1)
                row = min(max(int(cy / STRIDE), 0), height - 1)
                near = (-((x - column) ** 2 + (y - row) ** 2) / (2 * NEAR**2)).exp().to(heat)
                wanted[image, int(label)] = torch.maximum(wanted[image, int(label)], near)
                where.append((image, row, column))
                sizes = torch.tensor([w, h]).div(STRIDE).log()
                offset = torch.tensor([cx / STRIDE - column - 0.5, cy / STRIDE - row - 0.5])
                boxes.append(torch.cat([offset, sizes]))
        count = self.mean_over_processes(heat.new_tensor([float(len(where))])).clamp(min=1)[0]
        probability = heat.sigmoid()
        far = (wanted - probability).abs() ** 2
        heat_loss = far * F.binary_cross_entropy_with_logits(heat, wanted, reduction="none")
        terms = {"heat_loss": heat_loss.sum() / count, "size_loss": box.sum() * 0}
        if where:
            image, row, column = (torch.tensor(part) for part in zip(*where, strict=True))
            found = box[image, :, row, column]
            terms["size_loss"] = F.l1_loss(found, torch.stack(boxes).to(found), reduction="sum")
            terms["size_loss"] = terms["size_loss"] / count
        return {"total_loss": terms["heat_loss"] + terms["size_loss"], **terms}

    def distance(self, own, wanted):
        heat = F.mse_loss(own.heat.float().sigmoid(), wanted.heat.float().sigmoid())
        return heat + 0.1 * F.mse_loss(own.box.float(), wanted.box.float())


@options_of(HeatmapSpec)
class Exp(BaseExp):
    def detector_spec(self):
        return self.make(HeatmapSpec)

    def get_criterion(self):
        return HeatmapLoss()
