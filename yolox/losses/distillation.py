"""Learning from another model's outputs instead of, or beside, labels (Hinton 2015).

And from its features (Romero 2015), where the student is a part of the teacher: what a layer of the
student reads is what is left of what the same layer of the teacher reads, channel by channel.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from yolox.models.channels import is_convolution, is_depthwise

LEAST_SHARE = 0.01  # of a feature's mean square, as the variance of a channel at rest
EPSILON = 1e-6
MANY = 1024  # positions, of which a quarter say enough of a variance


class DistillWeights(NamedTuple):
    """Of the terms in the loss; 0 leaves a term out.

    layers: whose features are compared. 'neck': what the head reads, in units of its variance.
        'all': what all convolutions but depthwise ones read, each channel in units of its own
        variance, but for maps finer than the finest predictions and of a single position.
    """

    outputs: float
    features: float
    layers: str = "neck"


class Distillation:
    """Compares a student with a teacher, both detectors, on the same images.

    distance: of the student's raw predictions from the teacher's, as a criterion measures it.
    kept: the teacher's channels that the student's layers read, by layer (a layer not named: all).
    The teacher stays in evaluation mode and gets no gradients.
    """

    def __init__(
        self,
        teacher: Any,
        student: nn.Module,
        distance: Callable[[Any, Any], Tensor],
        weights: DistillWeights,
        kept: Mapping[str, Sequence[int]],
    ):
        self._teacher = teacher.eval().requires_grad_(False)
        self._distance, self._weights = distance, weights
        self._kept = {name: torch.as_tensor(channels) for name, channels in kept.items()}
        self._noted: dict[str, list[tuple[str, Tensor]]] = {"teacher": [], "student": []}
        self._finest = min(teacher.strides, default=1)
        if weights.features:
            names = _compared_layers(teacher, weights.layers)
            self._watch(teacher, "teacher", names)
            self._watch(student, "student", names)

    def __call__(self, images: Tensor, raw: Any) -> Tensor:
        """The weighted loss (a scalar) for the student's raw predictions of `images`.

        To be called once after each forward pass of the student.
        """
        with torch.no_grad():
            wanted = self._teacher.raw(images)
        loss = self._weights.outputs * self._distance(raw, wanted)
        if self._weights.features:
            loss = loss + self._weights.features * self._feature_loss(images.shape[-1])
        return loss

    def _watch(self, model: nn.Module, owner: str, names: Sequence[str]) -> None:
        def noting(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                if layer.training or owner == "teacher":  # a copy that is evaluated keeps the hook
                    self._noted[owner].append((name, inputs[0]))

            return note

        for name in names:
            model.get_submodule(name).register_forward_pre_hook(noting(name))

    def _feature_loss(self, width: int) -> Tensor:
        """Mean of `feature_distance` over all calls of layers. width: of the images, in pixels."""
        found = self._noted
        both = zip(found["student"], found["teacher"], strict=True)
        per_channel = self._weights.layers == "all"
        terms = [
            feature_distance(own, full, self._kept_at(name, full.device), per_channel=per_channel)
            for (name, own), (_, full) in both
            if not per_channel or 1 < full.shape[-1] < width / self._finest + 1
        ]
        for features in found.values():
            features.clear()
        return torch.stack(terms).mean()

    def _kept_at(self, name: str, device: torch.device) -> Tensor | None:
        """The channels that a layer of the student reads, moved to a device once."""
        if name in self._kept:
            self._kept[name] = self._kept[name].to(device)
        return self._kept.get(name)


def _compared_layers(teacher: Any, layers: str) -> Sequence[str]:
    """The names of the layers whose inputs are compared."""
    if layers == "neck":
        readers: list[str] = teacher.feature_readers
        return readers
    every = teacher.named_modules()
    return [name for name, x in every if is_convolution(x) and not is_depthwise(x)]


def feature_distance(
    own: Tensor, full: Tensor, kept: Tensor | None, *, per_channel: bool
) -> Tensor:
    """Mean squared difference of features [B, C, H, W] in units of their variance.

    full: the teacher's, of which `kept` are the channels that the student has (None: all).
    per_channel: each channel in units of its own variance, not of the whole feature's.
    """
    rows, wanted = (_by_position(feature) for feature in (own, full))
    if kept is not None:
        wanted = wanted[:, kept]
    if not per_channel:
        return (rows - wanted).square().mean() / wanted.var().clamp(min=EPSILON)
    some = wanted[::4] if len(wanted) > MANY else wanted
    floor = LEAST_SHARE * some.square().mean() + EPSILON
    scale = (some.var(dim=0, correction=0) + floor).rsqrt()
    return ((rows - wanted) * scale).square().mean()


def _by_position(feature: Tensor) -> Tensor:
    """[B, C, H, W] -> [B * H * W, C] float."""
    return feature.float().permute(0, 2, 3, 1).flatten(0, 2)
