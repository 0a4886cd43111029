"""Learning from another model's answers instead of, or beside, labels (Hinton 2015)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolox.models import Predictions
from yolox.ops.boxes import iou_cxcywh
from yolox.ops.points import decode_boxes, grid_points

BOX_WEIGHT = 5.0  # as YOLOX weights its box loss
LARGEST_LOG = 10.0  # of a size in strides: e^10 of them are larger than any image


class DistillWeights(NamedTuple):
    """Of the terms in the loss; 0 leaves a term out."""

    outputs: float
    features: float


class Distillation:
    """Compares a student with a teacher on the same images.

    readers: the layers that read the neck's features, of both models. kept: which of the teacher's
        channels the student has there, by layer (a layer not named: all).
    The teacher stays in evaluation mode and gets no gradients.
    """

    def __init__(
        self,
        teacher: Any,
        student: nn.Module,
        strides: tuple[int, ...],
        weights: DistillWeights,
        kept: Mapping[str, Sequence[int]],
    ):
        self._teacher = teacher.eval().requires_grad_(False)
        self._strides, self._weights = strides, weights
        self._kept = {name: torch.as_tensor(channels) for name, channels in kept.items()}
        self._features: dict[str, list[Tensor]] = {"teacher": [], "student": []}
        self._readers: Sequence[str] = teacher.feature_readers
        if weights.features:
            self._watch(teacher, "teacher")
            self._watch(student, "student")

    def __call__(self, images: Tensor, predictions: Predictions) -> Tensor:
        """The weighted loss (a scalar) for the student's raw predictions of `images`.

        To be called once after each forward pass of the student.
        """
        with torch.no_grad():
            wanted: Predictions = self._teacher.raw(images)
        loss = self._weights.outputs * output_loss(predictions, wanted, self._strides)
        if self._weights.features:
            loss = loss + self._weights.features * self._feature_loss()
        return loss

    def _watch(self, model: nn.Module, owner: str) -> None:
        def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if layer.training or owner == "teacher":  # a copy that is evaluated keeps the hook
                self._features[owner].append(inputs[0])

        for name in self._readers:
            model.get_submodule(name).register_forward_pre_hook(note)

    def _feature_loss(self) -> Tensor:
        """Mean squared difference in units of the teacher's variance, over levels."""
        terms = []
        found = self._features
        for name, own, full in zip(self._readers, found["student"], found["teacher"], strict=True):
            kept = self._kept.get(name)
            wanted = full if kept is None else full[:, kept.to(full.device)]
            scale = wanted.float().var().clamp(min=1e-6)
            terms.append(F.mse_loss(own.float(), wanted.float()) / scale)
        for features in found.values():
            features.clear()
        return torch.stack(terms).mean()


def output_loss(own: Predictions, wanted: Predictions, strides: tuple[int, ...]) -> Tensor:
    """How far raw predictions are from those of a teacher.

    Cross-entropy with the teacher's probabilities for objectness (every point) and classes, and
    1 - IoU of the boxes, the latter two weighted with the teacher's objectness; over the sum of
    it, which stands for the number of objects' points. Zero only where both agree.
    """
    sure = wanted.obj.float().sigmoid()
    norm = sure.sum().clamp(min=1.0)
    objectness = _divergence(own.obj, wanted.obj).sum()
    classes = (_divergence(own.cls, wanted.cls) * sure).sum()
    points, steps = grid_points(wanted.sizes, strides, wanted.box.device, torch.float32)
    boxes = [decode_boxes(_bounded(p.box), points, steps) for p in (own, wanted)]
    apart = 1 - iou_cxcywh(boxes[0], boxes[1])
    return (objectness + classes + BOX_WEIGHT * (apart * sure[..., 0]).sum()) / norm


def _bounded(box: Tensor) -> Tensor:
    """Raw boxes in float32 whose sizes do not overflow."""
    return torch.cat([box[..., :2].float(), box[..., 2:].float().clamp(max=LARGEST_LOG)], dim=-1)


def _divergence(own: Tensor, wanted: Tensor) -> Tensor:
    """Binary cross-entropy less the teacher's own entropy, so that equal logits give zero."""
    own, wanted = own.float(), wanted.float()
    target = wanted.sigmoid()
    cross = F.binary_cross_entropy_with_logits(own, target, reduction="none")
    return cross - F.binary_cross_entropy_with_logits(wanted, target, reduction="none")
