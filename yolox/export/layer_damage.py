"""How much each layer suffers from 8 bits: the model is run with one layer quantised at a time.

Weights are rounded to int8 per output channel, inputs to uint8 per tensor with ranges from
calibration, as the runtimes do it. What counts is the damage to detections: how far scores and
boxes of the points that matter move.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from yolox.export.calibration import Ranges
from yolox.models.fake_int8 import round_int8, round_uint8
from yolox.ops.boxes import iou_cxcywh

VISIBLE = 0.05  # score from which a point counts
BATCH = 8


@torch.inference_mode()
def layer_damage(
    model: nn.Module, images: Tensor, names: Collection[str] | None = None, progress: bool = True
) -> dict[str, float]:
    """Damage of each convolution, by module name, the most sensitive first.

    model: fused, from images to decoded predictions. images: [n, 3, H, W] uint8; ranges are taken
    from all, damage from the first 8. names: of the convolutions that are looked at (default: all);
    those that are not reached are left out.
    """
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and (names is None or name in names)
    }
    ranges = _input_ranges(model, layers, images)
    probe = images[:BATCH].float()
    reference = model(probe)
    found = {}
    steps = tqdm(ranges.items(), desc="layer by layer", disable=None if progress else True)
    for name, (low, high) in steps:
        with _quantised(layers[name], low, high):
            found[name] = detection_damage(reference, model(probe))
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def detection_damage(reference: Tensor, changed: Tensor) -> float:
    """Mean of |score difference| + score x (1 - IoU) per unit of score; 0 is no damage.

    Both [B, A, 5 + C] decoded. Only points count whose score reaches 0.05 in either; without any,
    the best point of each image does.
    """
    before, after = _scores(reference), _scores(changed)
    best = torch.maximum(before, after)
    seen = best >= torch.minimum(best.amax(dim=1, keepdim=True), torch.tensor(VISIBLE))
    overlap = iou_cxcywh(reference[..., :4][seen], changed[..., :4][seen])
    before, after = before[seen], after[seen]
    loss = (before - after).abs() + before * (1 - overlap)
    return float(loss.sum() / before.sum().clamp(min=1e-12))


def _scores(decoded: Tensor) -> Tensor:
    return decoded[..., 4] * decoded[..., 5:].amax(dim=-1)


def _input_ranges(
    model: nn.Module, layers: dict[str, nn.Conv2d], images: Tensor
) -> dict[str, tuple[float, float]]:
    """Range of each layer's input over all images, but for the rarest values."""
    ranges = Ranges()

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            for image in inputs[0]:
                ranges.add(name, image)

        return hook

    handles = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    for start in range(0, len(images), BATCH):
        model(images[start : start + BATCH].float())
    for handle in handles:
        handle.remove()
    return ranges.found()


@contextmanager
def _quantised(layer: nn.Conv2d, low: float, high: float) -> Iterator[None]:
    """A layer with rounded weights and inputs for the time of a block."""

    def hook(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor]:
        return (round_uint8(inputs[0], torch.tensor(low), torch.tensor(high)),)

    weight = layer.weight.data
    layer.weight.data = round_int8(weight)
    handle = layer.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
        layer.weight.data = weight
