"""Weight masks: which weights of a model are kept. The shapes stay as they are.

Masks alone make no model faster in any runtime known to us; they make its file smaller. 2:4 masks
(two of four neighbouring inputs) run faster on the sparse tensor cores of NVIDIA GPUs since Ampere,
in matrix products; for convolutions no runtime of this toolkit uses them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from loguru import logger
from torch import Tensor

from yolox.compress.calibration import CalibrationImages, ImageSet
from yolox.compress.groups import warn_of_unused
from yolox.compress.importance.weights import (
    CRITERIA,
    SENSITIVITY_IMAGES,
    CalibrationEvidence,
    Criterion,
    layer_importance,
)
from yolox.compress.job import CompressionJob
from yolox.compress.layer_statistics import layer_variances
from yolox.compress.selection import OutputDistance
from yolox.compress.stage import DENSE, Artefact, Artefacts, Stage
from yolox.compress.steps import MaskStep
from yolox.compress.workspace import Workspace
from yolox.engine.masks import apply_masks, within
from yolox.errors import ModelError
from yolox.families.base import Distance
from yolox.models.channels import is_convolution
from yolox.models.network import Network
from yolox.ops.precision import to_float64

NEARLY_EMPTY = 0.02  # a layer that keeps less than this share is named in a warning


def maskable_weights(model: Network, exclude: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Weights of convolutions, but those whose name holds an excluded word; by default the head's.

    Raises ModelError where none is left.
    """
    head = model.head_keys if exclude is None else ()
    weights = {
        f"{name}.weight": layer.get_parameter("weight").detach().cpu()
        for name, layer in model.named_modules()
        if is_convolution(layer)
    }
    found = {
        name: weight
        for name, weight in weights.items()
        if not name.startswith(head) and not any(word in name for word in exclude or ())
    }
    if not found:
        raise ModelError(f"no weights to mask are left without {', '.join(exclude or head)}")
    return found


def draw_masks(
    model: Network, step: MaskStep, batches: CalibrationImages | None, distance: Distance
) -> dict[str, Tensor]:
    """The masks that a step asks for. Raises UsageError where its criterion needs images.

    batches: calibration images at the size that the model will run at. distance: of a criterion.
    """
    weights = maskable_weights(model, step.exclude)
    warn_of_unused(step.exclude or (), dict(model.named_parameters()))
    criterion: Criterion = CRITERIA[step.criterion]
    layers = [name.removesuffix(".weight") for name in weights]
    evidence = None
    if batches is not None:
        evidence = CalibrationEvidence(
            lambda: layer_variances(model, layers, batches),
            lambda: layer_importance(model, layers, batches.first(SENSITIVITY_IMAGES), distance),
        )
    scores = criterion(weights, evidence)
    if step.pattern == "2:4":
        masks = two_of_four(scores)
    else:
        masks = make_masks(scores, step.share, min(step.floor, 1.0 - step.share))
    for name, mask in masks.items():
        if mask.float().mean() < NEARLY_EMPTY:
            logger.warning("{} keeps {} of {} weights", name, int(mask.sum()), mask.numel())
    return masks


def make_masks(scores: Mapping[str, Tensor], share: float, floor: float = 0.0) -> dict[str, Tensor]:
    """Bool masks, True where kept; exactly `share` of all weights together are left out.

    floor: share of each layer that stays, its best. Raises ValueError for shares that cannot be.
    """
    if not 0.0 <= share < 1.0 or not 0.0 <= floor <= 1.0 - share:
        raise ValueError(f"share {share} with floor {floor} is not in 0..1")
    flat = torch.cat([_with_floor(to_float64(score.flatten()), floor) for score in scores.values()])
    removed = flat.argsort(stable=True)[: round(share * flat.numel())]
    kept = torch.ones(flat.numel(), dtype=torch.bool)
    kept[removed] = False
    parts = torch.split(kept, [score.numel() for score in scores.values()])
    return {
        name: part.reshape(score.shape)
        for (name, score), part in zip(scores.items(), parts, strict=True)
    }


def _with_floor(scores: Tensor, floor: float) -> Tensor:
    """The scores [weights] of a layer, those of its best weights above all others."""
    best = scores.argsort(descending=True, stable=True)[: int(floor * len(scores))]
    return scores.index_fill(0, best, math.inf)


def two_of_four(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Masks that keep the two best of every four neighbouring inputs of an output.

    Neighbours are counted along the flattened inputs, kernel positions included, as sparse tensor
    cores read them. Layers whose inputs are no multiple of four stay whole, with a warning.
    """
    masks = {}
    for name, score in scores.items():
        row = score[0].numel()
        if row % 4:
            logger.warning("{}: {} inputs are no multiple of four, kept whole", name, row)
            masks[name] = torch.ones(score.shape, dtype=torch.bool)
            continue
        fours = score.reshape(-1, 4)
        best = fours.argsort(dim=1, descending=True, stable=True)[:, :2]
        mask = torch.zeros(fours.shape, dtype=torch.bool).scatter_(1, best, value=True)
        masks[name] = mask.reshape(score.shape)
    return masks


def kept_share(masks: Mapping[str, Tensor]) -> float:
    """Kept weights over all masked weights."""
    return sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())


@dataclass(frozen=True)
class MaskDrawing:
    """How masks are drawn: the step, and what its criterion looks at."""

    step: MaskStep
    images: ImageSet | None
    distance: OutputDistance

    @classmethod
    def of(cls, job: CompressionJob) -> "MaskDrawing | None":
        """As a job's recipe says, None where it masks nothing. Raises DataError."""
        step = job.recipe.mask
        if step is None:
            return None
        return cls(step, job.images(step.images) if step.needs_images else None, job.distance)

    def draw(
        self, model: Network, former: Mapping[str, Tensor], device: torch.device
    ) -> dict[str, Tensor]:
        """Masks for a model that had `former` ones: what was left out stays out."""
        images = self.images.open(device) if self.images is not None else None
        return within(draw_masks(model, self.step, images, self.distance.of), former)


@dataclass(frozen=True)
class MaskInputs:
    """What the mask stage is given."""

    dense: Path
    drawing: MaskDrawing


class MaskStage(Stage):
    """Draw the weight masks of the dense model."""

    name = "mask"
    writes = ("mask.pth",)

    def is_asked(self, job: CompressionJob) -> bool:
        """Where the recipe has `mask`."""
        return job.recipe.mask is not None

    def given(self, job: CompressionJob, found: Artefacts) -> MaskInputs:
        """The dense checkpoint and how masks are drawn."""
        drawing = MaskDrawing.of(job)
        assert drawing is not None
        return MaskInputs(found[DENSE].path, drawing)

    def run(
        self, given: MaskInputs, workspace: Workspace, interrupted: bool
    ) -> dict[str, Artefact]:
        """Writes `mask.pth`: the checkpoint with masked weights, and the masks."""
        content, model, _ = workspace.load(given.dense)
        masks = given.drawing.draw(model, content.get("masks", {}), workspace.device)
        apply_masks(model, masks)
        logger.info("{:.1%} of the weights of {} layers kept", kept_share(masks), len(masks))
        path = workspace.save("mask.pth", content, model, masks, content.get("channels"))
        return {"masked": Artefact(path, DENSE)}
