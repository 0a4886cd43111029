"""The detector: EfficientNet, BiFPN, and heads that all levels share."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from yolox.families.base import Detector
from yolox.families.efficientdet.anchors import anchors, decode
from yolox.families.efficientdet.backbone import timm_backbone
from yolox.families.efficientdet.head import Head
from yolox.families.efficientdet.names import own_name, own_names
from yolox.families.efficientdet.pyramid import Pyramid
from yolox.families.efficientdet.spec import STRIDES, EfficientDetSpec
from yolox.models.normalise import ImageNetInput

MOST = 5000  # anchors that are kept before suppression, the best first


class Raw(NamedTuple):
    """cls [B, A, C] logits; box [B, A, 4] y, x, log h, log w in anchors; sizes: the (height, width)
    in cells of each level.
    """

    cls: Tensor
    box: Tensor
    sizes: tuple[tuple[int, int], ...]


class EfficientDetDetector(Detector):
    """Five levels of anchors."""

    class_keys = ("head.cls.predict.pointwise.",)
    head_keys = ("head.",)
    pretrained_keys = ("backbone.",)
    strides = STRIDES

    def __init__(self, spec: EfficientDetSpec):
        super().__init__()
        self.divisor, self.anchor_scale = spec.divisor, spec.anchor_scale
        self._backbone = spec.backbone
        self.input = ImageNetInput()
        self.backbone, widths = timm_backbone(spec.backbone, spec.drop_path)
        channels = spec.pyramid_channels
        self.pyramid = Pyramid(widths, channels, spec.pyramid_cells, spec.fusion)
        self.head = Head(channels, spec.head_repeats, spec.num_classes)

    @property
    def feature_readers(self) -> list[str]:
        """The convolution that reads the pyramid's maps, once for each level."""
        return ["head.cls.tower.0.depthwise"]

    def raw(self, images: Tensor) -> Raw:
        """Raw predictions in either mode."""
        levels = self.pyramid(self.backbone(self.input(images)))
        sizes = tuple((level.shape[-2], level.shape[-1]) for level in levels)
        cls, box = self.head(levels)
        return Raw(cls, box, sizes)

    def decode(self, raw: Raw, size_hw: tuple[int, int]) -> Tensor:
        """The best anchors by their best class: [B, K, 5 + C]."""
        scores, box = raw.cls.float().sigmoid(), raw.box.float()
        boxes = decode(box, anchors(raw.sizes, self.anchor_scale, box))
        found = torch.cat([boxes, torch.ones_like(boxes[..., :1]), scores], dim=-1)
        if scores.shape[1] <= MOST:
            return found
        best = scores.amax(-1).topk(MOST, dim=1).indices
        return found.gather(1, best[..., None].expand(-1, -1, found.shape[-1]))

    def adopt(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights that `effdet` trained and published, under the names here."""
        return own_names(state)

    def pretrained(self, state: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
        """Timm's weights of the backbone."""
        if state is None:
            network, _ = timm_backbone(self._backbone, pretrained=True)
            return {f"backbone.{key}": value for key, value in network.state_dict().items()}
        return {own_name(f"backbone.{key}"): value for key, value in state.items()}
