"""Small detectors whose scores differ from point to point, and noise to feed them with."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from yolox.backends import ModelInfo
from yolox.families import build
from yolox.families.yolox import YoloxSpec
from yolox.models.fuse import fuse
from yolox.models.network import Network

# The graphs of "p5" at this size are those of the tiny experiment, too: they are traced once.
SIZE = (64, 96)
SPECS = {
    "p5": YoloxSpec(num_classes=3, depth=0.33, width=0.125),
    "depthwise": YoloxSpec(num_classes=3, depth=0.33, width=0.125, depthwise=True),
    "p6": YoloxSpec(
        num_classes=3,
        depth=0.33,
        width=0.125,
        strides=(8, 16, 32, 64),
        channels=(256, 512, 768, 1024),
        csp_shortcut="rest",
        act="relu",
    ),
}


class Net(Network):
    """A network of a few layers, which says in `raw` what it answers."""

    divisor = 8

    def forward(self, x: Tensor) -> Any:
        return self.raw(x)


def tiny_model(name: str = "p5") -> tuple[nn.Module, ModelInfo]:
    """A fused model of `SPECS` and what it is."""
    torch.manual_seed(0)
    spec = SPECS[name]
    model = build(spec)
    spread_scores(model)
    info = ModelInfo(
        3, spec.divisor, ("a", "b", "c"), (1, 2, 7), family=spec.family, strides=spec.strides
    )
    return fuse(model.eval()), info


def spread_statistics(model: nn.Module) -> None:
    """Batch norms of an untrained model as those of a trained one: each channel differs."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
            module.bias.data.uniform_(-0.5, 0.5)


def spread_scores(model: nn.Module) -> None:
    """Make the scores of an untrained YOLOX differ from point to point and reach high values."""
    spread_statistics(model)
    head: Any = model.get_submodule("head")
    for layer in [*head.obj_preds, *head.cls_preds]:
        nn.init.normal_(layer.weight, std=0.5)
        nn.init.normal_(layer.bias, std=0.1)


def noise(batch: int, size_hw: tuple[int, int], seed: int = 0) -> Tensor:
    """[batch, 3, H, W] uint8."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, 3, *size_hw), generator=generator, dtype=torch.uint8)


class Noise:
    """Calibration images of noise: `count` of them, in batches of two."""

    def __init__(self, size_hw: tuple[int, int], count: int):
        self.size_hw, self.count = size_hw, count

    def __call__(self) -> Iterator[Tensor]:
        for start in range(0, self.count, 2):
            yield noise(min(2, self.count - start), self.size_hw, seed=start).float()

    def first(self, count: int) -> "Noise":
        """Fewer of them."""
        return Noise(self.size_hw, min(count, self.count))
