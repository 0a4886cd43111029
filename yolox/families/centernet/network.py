"""The detector: a feature, three small branches, and peaks instead of suppression."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from yolox.families.base import Detector
from yolox.families.centernet.hourglass import LAYOUTS, HourglassBackbone
from yolox.families.centernet.predictions import Raw, local_peaks
from yolox.families.centernet.spec import HOURGLASSES, CenterNetSpec
from yolox.families.centernet.upsampled import UpsampledBackbone, torchvision_weights
from yolox.models.normalise import ImageNetInput
from yolox.ops.points import grid_points

PRIOR_BIAS = -math.log(9.0)  # a cell is a centre with probability 0.1
BOX_DEVIATION = 0.001  # of the first weights of sizes and offsets
MOST = 100  # cells that are kept, the best first


class CenterNetDetector(Detector):
    """Every cell of a heatmap may be the centre of an object of each class."""

    class_keys = ("head.heat.out.",)
    head_keys = ("head.",)

    def __init__(self, spec: CenterNetSpec):
        super().__init__()
        self.strides, self.divisor = (spec.stride,), spec.divisor
        self._backbone = spec.backbone
        self.input = ImageNetInput()
        self.backbone: HourglassBackbone | UpsampledBackbone
        if spec.backbone in HOURGLASSES:
            self.backbone = HourglassBackbone(LAYOUTS[spec.backbone])
        else:
            self.backbone = UpsampledBackbone(spec.backbone)
            self.pretrained_keys = ("backbone.body.",)
        outputs = {"heat": spec.num_classes, "size": 2, "offset": 2}
        self.head = nn.ModuleDict(
            {
                name: Branch(self.backbone.out_channels, count, spec)
                for name, count in outputs.items()
            }
        )
        for name, module in self.head.named_modules():
            if isinstance(module, nn.Conv2d) and not name.startswith("heat"):
                nn.init.normal_(module.weight, std=BOX_DEVIATION)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.head["heat"].out.bias, PRIOR_BIAS)  # type: ignore[union-attr,arg-type]

    @property
    def feature_readers(self) -> list[str]:
        """The first convolutions of the branches, which read the same feature: one of them."""
        return ["head.heat.hidden.0"]

    def pretrained(self, state: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
        """Torchvision's weights of the backbone."""
        if not self.pretrained_keys:
            return super().pretrained(state)
        found = torchvision_weights(self._backbone) if state is None else state
        return {f"backbone.body.{key}": value for key, value in found.items()}

    def raw(self, images: Tensor) -> Raw:
        """Raw predictions in either mode."""
        feature = self.backbone(self.input(images))
        return Raw(*(self.head[name](feature) for name in Raw._fields))

    def decode(self, raw: Raw, size_hw: tuple[int, int]) -> Tensor:
        """The best cells, [B, K, 5 + C], where a probability that is no local peak is zero.

        With `nms 1.0` and `multi_class` the detections are the best peaks of all classes.
        """
        heat = raw.heat.float().sigmoid()
        scores = local_peaks(heat).flatten(2).transpose(1, 2)
        sizes = raw.size.float().flatten(2).transpose(1, 2)
        grid = (heat.shape[-2], heat.shape[-1])
        points, _ = grid_points([grid], self.strides, heat.device, heat.dtype)
        centres = raw.offset.float().flatten(2).transpose(1, 2) + points
        ones = torch.ones_like(scores[..., :1])
        boxes = torch.cat([centres, sizes.clamp(min=0)], dim=-1) * self.strides[0]
        found = torch.cat([boxes, ones, scores], dim=-1)
        best = scores.amax(-1).topk(min(MOST, scores.shape[1]), dim=1).indices
        return found.gather(1, best[..., None].expand(-1, -1, found.shape[-1]))


class Branch(nn.Module):
    """A hidden layer and the predictions of each cell; without batch norm."""

    def __init__(self, inputs: int, outputs: int, spec: CenterNetSpec):
        super().__init__()
        width = spec.head_channels
        if spec.light_head:
            hidden = [nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs)]
            hidden += [nn.Conv2d(inputs, width, 1)]
        else:
            hidden = [nn.Conv2d(inputs, width, 3, padding=1)]
        self.hidden = nn.Sequential(*hidden)
        self.out = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H, W]."""
        out: Tensor = self.out(self.hidden(x).relu())
        return out
