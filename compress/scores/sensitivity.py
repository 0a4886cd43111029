"""How much errors in single places matter to what a model says."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from yolox.families.base import Distance

SENSITIVITY_IMAGES = 8
NOISE = 0.05  # variance of the noise, as a share of the variance of what a layer answers


@torch.no_grad()
def layer_weights(
    model: Any,
    names: Sequence[str],
    batches: Callable[[], Iterator[Tensor]],
    distance: Distance,
    seed: int = 0,
) -> dict[str, float]:
    """By convolution: the loss of outputs per share of variance of an error in its answers.

    Noise is added to the answers of one layer at a time; `distance` says how far the predictions
    then are from those without noise, the mean over images.
    """
    images = [batch.contiguous(memory_format=torch.channels_last) for batch in batches()]
    wanted = [model.raw(batch) for batch in images]
    found = {}
    for number, name in enumerate(names):
        generator = torch.Generator().manual_seed(seed + number)

        def disturb(layer: nn.Module, inputs: Any, y: Tensor, g: Any = generator) -> Tensor:
            spread = y.var(dim=(0, 2, 3), keepdim=True).mul(NOISE).sqrt()
            return y + spread * torch.randn(y.shape, generator=g).to(y)

        handle = model.get_submodule(name).register_forward_hook(disturb)
        try:
            losses = [
                float(distance(model.raw(batch), right))
                for batch, right in zip(images, wanted, strict=True)
            ]
        finally:
            handle.remove()
        found[name] = sum(losses) / len(losses) / NOISE
    return found
