"""The adapt stage: what is left of a model is fitted to the dense one that it was made from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from yolox.compress.calibration import ImageSet
from yolox.compress.groups import find_groups
from yolox.compress.job import CompressionJob
from yolox.compress.least_squares import Student, adapt
from yolox.compress.mask import MaskDrawing
from yolox.compress.selection import Selection, SelectionRule
from yolox.compress.stage import DENSE, Artefact, Artefacts, Source, Stage, latest
from yolox.compress.steps import AdaptStep
from yolox.compress.workspace import Loaded, Workspace
from yolox.engine.masks import apply_masks
from yolox.errors import ModelError
from yolox.models.channels import cut_channels, relative_channels
from yolox.models.copies import copied
from yolox.models.network import Network
from yolox.ops.precision import to_float64

# Cosine between convolution weights of a model and of what it was made from: 0 +- 0.02 for models
# that have nothing to do with each other, whereas tuning and adaptation change weights by degrees.
LEAST_ALIKE = 0.1


def load_student(workspace: Workspace, path: Path, dense_path: Path) -> tuple[Loaded, Student]:
    """A pruned or masked checkpoint and its model, with the dense one.

    Raises ModelError naming both files where the one was not made from the other.
    """
    before, dense, _ = workspace.load(dense_path)
    loaded = workspace.load(path)
    after, model, _ = loaded
    where = f"checkpoint {path} was not made from {dense_path}"
    if before["spec"] != after["spec"]:
        raise ModelError(f"{where}: they are of different architectures")
    try:
        channels = relative_channels(before.get("channels", {}), after.get("channels", {}))
        _require_alike(cut_channels(dense, channels), model)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from error
    return loaded, Student(model, dense, channels, after.get("masks", {}))


def _require_alike(cut: Network, model: Network) -> None:
    """Raises ModelError where two models differ in shape, or have nothing in common."""
    own: Mapping[str, Tensor] = dict(model.named_parameters())
    products = torch.zeros(3, dtype=torch.float64)
    for name, parameter in cut.named_parameters():
        other = own[name].detach()
        if parameter.shape != other.shape:
            raise ModelError(
                f"{name} has shape {tuple(other.shape)}, expected {tuple(parameter.shape)}"
            )
        if parameter.dim() == 4:  # what norms hold is alike in all models
            a, b = to_float64(parameter.detach().flatten()), to_float64(other.flatten())
            products += torch.stack([a @ b, a @ a, b @ b]).cpu()
    both, first, second = products.tolist()
    if both < LEAST_ALIKE * (first * second) ** 0.5:
        raise ModelError("their weights have nothing in common")


@dataclass(frozen=True)
class AdaptInputs:
    """What the adapt stage is given. masks: how they are drawn anew for what is left."""

    source: Source
    dense: Path
    step: AdaptStep
    test_size: tuple[int, int]
    images: ImageSet | None
    masks: MaskDrawing | None
    rule: SelectionRule


class AdaptStage(Stage):
    """Fit what is left to the dense model's outputs; a part that makes it worse is not kept."""

    name = "adapt"
    writes = ("adapted.pth", "parts")

    def is_asked(self, job: CompressionJob) -> bool:
        """Unless nothing was taken away, or the recipe says that nothing is fitted."""
        return job.recipe.adapt is not None and job.recipe.takes_away

    def given(self, job: CompressionJob, found: Artefacts) -> AdaptInputs:
        """Both checkpoints, the images, and how the best part is found."""
        step = job.recipe.adapt
        assert step is not None
        source = latest(found, "adapted")
        count = step.images if step.needs_images else None
        return AdaptInputs(
            source,
            found[DENSE].path,
            step,
            job.exp.test_size,
            job.images(count) if count is not None else None,
            MaskDrawing.of(job) if source.name == "pruned" else None,
            job.selection_rule(count),
        )

    def run(
        self, given: AdaptInputs, workspace: Workspace, interrupted: bool
    ) -> dict[str, Artefact]:
        """Writes `adapted.pth`, and the parts that were not kept to the folder `parts`."""
        (smaller, _, info), student = load_student(workspace, given.source.path, given.dense)
        trace = find_groups(student.dense, given.test_size).trace
        device, start = workspace.device, given.source.name
        images = given.images.open(device) if given.images is not None else None
        masks = student.masks

        def best(candidates: Mapping[str, Network]) -> Selection:
            return given.rule.select(candidates, student.dense, info, device)

        first = given.step if given.masks is None else replace(given.step, recalibrate=False)
        parts = {start: student.model, **adapt(student, trace, images, first)}
        kept = best(parts)
        adapted_from = kept.name  # what masks are drawn for; without masks: see below
        if given.masks is not None:  # the share holds for what is left
            last = copied(kept.model)
            masks = given.masks.draw(last, student.masks, device)
            apply_masks(last, masks)
            masked = replace(student, model=last, masks=masks)
            refitted = adapt(masked, trace, images, replace(given.step, fold=False))
            kept = best({"masked": last, **refitted})
        channels, former = smaller.get("channels"), smaller.get("masks", {})
        written: dict[str, Artefact] = {}
        parent = start
        for name, part in parts.items():
            if name == start:
                continue
            if part is kept.model:
                adapted_from, parent = parent, "adapted"
                continue
            path = workspace.save(f"parts/{name}.pth", smaller, part, former, channels)
            written[name] = Artefact(path, parent)
            parent = name
        target = workspace.save("adapted.pth", smaller, kept.model, masks, channels, kept.as_json())
        return {**written, "adapted": Artefact(target, adapted_from)}
