"""How much each unit of each channel group matters: one function per criterion, one signature.

Each takes the evidence and returns [units] by group name; the lowest are cut first.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from yolox.compress.groups import ChannelGroup, Groups, Member
from yolox.compress.importance.reconstruction import unit_errors
from yolox.errors import UsageError
from yolox.models.network import Network
from yolox.ops.precision import to_float64


@dataclass(frozen=True)
class Evidence:
    """What criteria may look at; each takes what it needs and says so where it is missing.

    batches: calibration images [B, 3, H, W] float, anew at every call.
    gradients: of the loss with respect to every parameter, by name, mean over labelled images.
    layer_importance: how much an error in a convolution's outputs matters, by name.
    """

    model: Network
    groups: Groups
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    batches: Callable[[], Iterator[Tensor]] | None = None
    gradients: Callable[[], Mapping[str, Tensor]] | None = None
    layer_importance: Mapping[str, float] | None = None
    seed: int = 0


Scores = dict[str, Tensor]
ChannelCriterion = Callable[[Evidence], Scores]


def l1(evidence: Evidence) -> Scores:
    """Sum of |w| of all weights that leave with a unit (Li 2017), relative to each layer's mean."""
    return _over_weights(evidence, torch.abs)


def l2(evidence: Evidence) -> Scores:
    """Sum of w^2 of all weights that leave with a unit, relative to each layer's mean."""
    return _over_weights(evidence, torch.square)


def lamp(evidence: Evidence) -> Scores:
    """`l2` over the sum of all in the group that are not smaller (after Lee 2021, LAMP)."""
    scores = {}
    for name, values in l2(evidence).items():
        order = values.argsort(stable=True)
        larger = values[order].flip(0).cumsum(0).flip(0)
        scores[name] = torch.empty_like(values).scatter_(0, order, values[order] / larger)
    return scores


def bn_scale(evidence: Evidence) -> Scores:
    """Mean |scale| of the batch norms that a unit goes through (Liu 2017)."""
    return {
        group.name: _summed(
            group.norms, lambda m: _vector(evidence.model, m, "weight").abs(), group
        )
        for group in evidence.groups.groups
    }


def taylor(evidence: Evidence) -> Scores:
    """(scale x its gradient + bias x its gradient)^2, summed over batch norms (Molchanov 2019).

    Raises UsageError where there are no labelled images.
    """
    if evidence.gradients is None:
        raise UsageError("criterion taylor needs labelled images: the experiment's training set")
    gradients = evidence.gradients()

    def change(member: Member) -> Tensor:
        return sum(
            (
                _vector(evidence.model, member, key)
                * to_float64(gradients.get(f"{member.layer}.{key}", torch.zeros(()))).cpu()
                for key in ("weight", "bias")
            ),
            start=torch.zeros(()),
        ).square()

    return {
        group.name: _summed(group.norms, change, group, relative=False)
        for group in evidence.groups.groups
    }


def mask_survival(evidence: Evidence) -> Scores:
    """Sum of |w| that the weight masks have left of a unit. Raises UsageError without masks."""
    if not evidence.masks:
        raise UsageError("criterion mask needs weight masks: run the mask stage first")
    return _over_weights(evidence, torch.abs)


def output(evidence: Evidence) -> Scores:
    """What the readers of a unit cannot make good, as a share of their outputs.

    See `yolox.compress.importance.reconstruction`. Raises UsageError without calibration images.
    """
    if evidence.batches is None:
        raise UsageError("criterion output needs calibration images")
    return unit_errors(evidence.model, evidence.groups, evidence.batches, evidence.layer_importance)


def random(evidence: Evidence) -> Scores:
    """Anything: the control that every other criterion must beat."""
    generator = torch.Generator().manual_seed(evidence.seed)
    return {
        group.name: torch.rand(group.size, generator=generator, dtype=torch.float64)
        for group in evidence.groups.groups
    }


CHANNEL_CRITERIA: dict[str, ChannelCriterion] = {
    "l1": l1,
    "l2": l2,
    "lamp": lamp,
    "bn_scale": bn_scale,
    "taylor": taylor,
    "mask": mask_survival,
    "output": output,
    "random": random,
}


def _over_weights(evidence: Evidence, power: Callable[[Tensor], Tensor]) -> Scores:
    """Sums over the weights of convolutions, masked ones left out."""

    def weight(member: Member) -> Tensor:
        layer = evidence.model.get_submodule(member.layer)
        found = power(to_float64(layer.get_parameter("weight").detach()))
        mask = evidence.masks.get(f"{member.layer}.weight")
        found = found if mask is None else found * mask.to(found.device)
        first = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        own = first if member.side == "out" else 1 - first
        return found.sum([dim for dim in range(found.dim()) if dim != own]).cpu()

    return {
        group.name: _summed([m for m in group.members if m.kind != "norm"], weight, group)
        for group in evidence.groups.groups
    }


def _vector(model: Network, member: Member, key: str) -> Tensor:
    """A batch norm's weight or bias; of one that has none, 1 and 0."""
    norm: Any = model.get_submodule(member.layer)
    found = getattr(norm, key)
    if found is None:
        return torch.full((norm.num_features,), float(key == "weight"), dtype=torch.float64)
    return to_float64(found.detach()).cpu()


def _summed(
    members: list[Member],
    value: Callable[[Member], Tensor],
    group: ChannelGroup,
    relative: bool = True,
) -> Tensor:
    """Per-channel values of layers, summed per unit.

    relative: every layer's values are divided by their mean first: the scale of a layer's weights
    says nothing where a batch norm follows.
    """
    total = torch.zeros(group.size, dtype=torch.float64)
    for member in members:
        channels = value(member)
        if relative:
            channels = channels / channels.mean().clamp(min=torch.finfo(torch.float64).tiny)
        total += channels[torch.as_tensor(member.positions)].sum(1)
    return total
