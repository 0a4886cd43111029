"""A toy family: anchors, a stock torchvision backbone, and a head that all levels share.

The convolutions of the head run at two levels with a batch norm for each; the best rows are kept.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_small
from torchvision.ops import box_iou

from yolox.exp import BaseExp, options_of
from yolox.families import Detector, DetectorSpec
from yolox.families.base import unchanged
from yolox.ops.boxes import cxcywh_to_xyxy

STRIDES = (16, 32)
SIDES = (1.0, 2.0)  # of square anchors, in strides
BEST = 100  # rows that are kept


@dataclass(frozen=True)
class AnchorSpec(DetectorSpec):
    """breadth: channels of the head."""

    family = "toy-anchors"
    breadth: int = 24

    @property
    def divisor(self):
        return max(STRIDES)

    def build(self):
        return AnchorDetector(self)


class Raw(NamedTuple):
    """cls [B, A, C] logits; box [B, A, 4]: offsets in anchors, logarithms of their size."""

    cls: Tensor
    box: Tensor


class AnchorDetector(Detector):
    class_keys = ("cls.",)
    head_keys = ("cls.", "box.")
    strides = STRIDES

    def __init__(self, spec):
        super().__init__()
        self.divisor, self.classes = spec.divisor, spec.num_classes
        layers = mobilenet_v3_small(weights=None).features
        self.fine, self.coarse = layers[:9], layers[9:]
        self.laterals = nn.ModuleList(nn.Conv2d(i, spec.breadth, 1) for i in (48, 576))
        self.tower = nn.Conv2d(spec.breadth, spec.breadth, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(spec.breadth) for _ in STRIDES)
        self.cls = nn.Conv2d(spec.breadth, len(SIDES) * spec.num_classes, 1)
        self.box = nn.Conv2d(spec.breadth, len(SIDES) * 4, 1)
        nn.init.constant_(self.cls.bias, -3.0)

    @property
    def feature_readers(self):
        return ["tower"]

    def raw(self, images):
        fine = self.fine(images / 255)
        features = [lat(f) for lat, f in zip(self.laterals, (fine, self.coarse(fine)), strict=True)]
        towers = [n(self.tower(f)).relu() for f, n in zip(features, self.norms, strict=True)]
        return Raw(
            rows([self.cls(t) for t in towers], self.classes),
            rows([self.box(t) for t in towers], 4),
        )

    def decode(self, raw, size_hw):
        boxes = decode_boxes(raw.box.float(), size_hw)
        scores = raw.cls.float().sigmoid()
        best = scores.amax(-1).topk(min(BEST, scores.shape[1]), dim=1).indices[..., None]
        found = torch.cat([boxes, torch.ones_like(boxes[..., :1]), scores], dim=-1)
        return found.gather(1, best.expand(-1, -1, found.shape[-1]))


def rows(maps, columns):
    """[B, anchors * columns, H, W] of every level -> [B, A, columns]."""
    return torch.cat(
        [m.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, columns)) for m in maps], 1
    )


def anchors(size_hw, like):
    """[A, 4] cx, cy, w, h in pixels, in the order of `rows`."""
    found = []
    for stride in STRIDES:
        y, x = torch.meshgrid(*(torch.arange(s // stride) for s in size_hw), indexing="ij")
        centre = torch.stack([x, y], dim=-1).flatten(0, 1)[:, None] + 0.5
        sides = torch.tensor(SIDES)[None, :, None].expand(len(centre), -1, 2)
        found.append(
            torch.cat([centre.expand(-1, len(SIDES), -1), sides], -1).flatten(0, 1) * stride
        )
    return torch.cat(found).to(like)


def decode_boxes(box, size_hw):
    fixed = anchors(size_hw, box)
    sizes = box[..., 2:].clamp(-4, 4).exp() * fixed[:, 2:]
    return torch.cat([fixed[:, :2] + box[..., :2] * fixed[:, 2:], sizes], dim=-1)


class AnchorLoss:
    """Each object takes the anchors that it overlaps by 0.3, and its best one."""

    mean_over_processes = staticmethod(unchanged)

    def __init__(self, size_of):
        self._size_of = size_of

    def __call__(self, raw, targets, *, plain=False):
        cls, box = raw.cls.float(), raw.box.float()
        fixed = anchors(self._size_of(cls.shape[1]), box)
        wanted, box_loss, count = torch.zeros_like(cls), box.sum() * 0, 0
        for image, padded in enumerate(targets.to(box)):
            objects = padded[(padded[:, 3] > 0) & (padded[:, 4] > 0)]
            if not len(objects):
                continue
            ious = box_iou(cxcywh_to_xyxy(fixed), cxcywh_to_xyxy(objects[:, 1:]))
            ious[ious.argmax(0), torch.arange(len(objects))] = 1.0
            best = ious.max(1)
            taken = best.values > 0.3
            mine = objects[best.indices[taken]]
            wanted[image, taken.nonzero()[:, 0], mine[:, 0].long()] = 1.0
            offsets = (mine[:, 1:3] - fixed[taken, :2]) / fixed[taken, 2:]
            goal = torch.cat([offsets, (mine[:, 3:] / fixed[taken, 2:]).log()], dim=-1)
            box_loss = box_loss + F.smooth_l1_loss(box[image, taken], goal, reduction="sum")
            count += int(taken.sum())
        norm = self.mean_over_processes(box.new_tensor([float(count)])).clamp(min=1)[0]
        far = (wanted - cls.sigmoid()).abs() ** 2
        cls_loss = (far * F.binary_cross_entropy_with_logits(cls, wanted, reduction="none")).sum()
        terms = {"focal_loss": cls_loss / norm, "box_loss": box_loss / norm}
        return {"total_loss": terms["focal_loss"] + terms["box_loss"], **terms}

    def distance(self, own, wanted):
        scores = F.mse_loss(own.cls.float().sigmoid(), wanted.cls.float().sigmoid())
        return scores + 0.1 * F.mse_loss(own.box.float(), wanted.box.float())


def square_of(count):
    """The size of a square image that has so many anchors."""
    side = next(
        s for s in range(32, 2048, 32) if len(SIDES) * sum((s // t) ** 2 for t in STRIDES) == count
    )
    return side, side


@options_of(AnchorSpec)
class Exp(BaseExp):
    def detector_spec(self):
        return self.make(AnchorSpec)

    def get_criterion(self):
        return AnchorLoss(square_of)
