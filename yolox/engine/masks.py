"""Weight masks that survive training: applied after every step, to the model and its average."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from yolox.errors import ModelError


def check_masks(masks: Mapping[str, Tensor], model: nn.Module, where: str) -> None:
    """Raises ModelError naming the first mask that fits no parameter of the model."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        if name not in parameters:
            raise ModelError(f"{where}: mask {name} fits no parameter of this architecture")
        if mask.shape != parameters[name].shape:
            raise ModelError(
                f"{where}: mask {name} has shape {tuple(mask.shape)}, "
                f"the parameter {tuple(parameters[name].shape)}"
            )


def within(masks: Mapping[str, Tensor], former: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Masks drawn for a model that had some before: what was left out stays out."""
    both = {name: mask & former[name] if name in former else mask for name, mask in masks.items()}
    return {**former, **both}


@torch.no_grad()
def apply_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set masked weights to zero, in place. masks: name -> bool tensor, True where kept."""
    if not masks:
        return
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        parameters[name].mul_(mask.to(parameters[name].device))
