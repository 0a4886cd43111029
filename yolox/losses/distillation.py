"""Learning from another model's outputs instead of, or beside, labels (Hinton 2015)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DistillWeights(NamedTuple):
    """Of the terms in the loss; 0 leaves a term out."""

    outputs: float
    features: float


class Distillation:
    """Compares a student with a teacher, both detectors, on the same images.

    distance: of the student's raw predictions from the teacher's, as a criterion measures it. kept:
        which of the teacher's channels the student has there, by layer (a layer not named: all).
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
        self._features: dict[str, list[tuple[str, Tensor]]] = {"teacher": [], "student": []}
        self._readers: Sequence[str] = teacher.feature_readers
        if weights.features:
            self._watch(teacher, "teacher")
            self._watch(student, "student")

    def __call__(self, images: Tensor, raw: Any) -> Tensor:
        """The weighted loss (a scalar) for the student's raw predictions of `images`.

        To be called once after each forward pass of the student.
        """
        with torch.no_grad():
            wanted = self._teacher.raw(images)
        loss = self._weights.outputs * self._distance(raw, wanted)
        if self._weights.features:
            loss = loss + self._weights.features * self._feature_loss()
        return loss

    def _watch(self, model: nn.Module, owner: str) -> None:
        def noting(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                if layer.training or owner == "teacher":  # a copy that is evaluated keeps the hook
                    self._features[owner].append((name, inputs[0]))

            return note

        for name in self._readers:
            model.get_submodule(name).register_forward_pre_hook(noting(name))

    def _feature_loss(self) -> Tensor:
        """Mean squared difference in units of the teacher's variance, over all calls of readers."""
        terms = []
        found = self._features
        for (name, own), (_, full) in zip(found["student"], found["teacher"], strict=True):
            kept = self._kept.get(name)
            wanted = full if kept is None else full[:, kept.to(full.device)]
            scale = wanted.float().var().clamp(min=1e-6)
            terms.append(F.mse_loss(own.float(), wanted.float()) / scale)
        for features in found.values():
            features.clear()
        return torch.stack(terms).mean()
