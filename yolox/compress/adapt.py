"""A smaller checkpoint beside the dense one that it was made from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolox.compress.calibration import CalibrationImages
from yolox.compress.groups import find_groups
from yolox.compress.least_squares import Student
from yolox.compress.steps import AdaptStep
from yolox.compress.workspace import Workspace
from yolox.errors import ModelError
from yolox.models.channels import cut_channels, relative_channels
from yolox.models.graph import Trace
from yolox.models.network import Network
from yolox.ops.precision import to_float64

# Cosine between convolution weights of a model and of what it was made from: 0 +- 0.02 for models
# that have nothing to do with each other, whereas tuning and adaptation change weights by degrees.
LEAST_ALIKE = 0.1


def load_student(
    workspace: Workspace, path: Path, dense_path: Path
) -> tuple[dict[str, Any], Student]:
    """A pruned or masked checkpoint and its model, with the dense one.

    Raises ModelError naming both files where the one was not made from the other.
    """
    before, dense = workspace.load(dense_path)
    after, model = workspace.load(path)
    where = f"checkpoint {path} was not made from {dense_path}"
    if before["spec"] != after["spec"]:
        raise ModelError(f"{where}: they are of different architectures")
    try:
        channels = relative_channels(before.get("channels", {}), after.get("channels", {}))
        _require_alike(cut_channels(dense, channels), model)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from error
    return after, Student(model, dense, channels, after.get("masks", {}))


def fitting(
    workspace: Workspace, student: Student, step: AdaptStep
) -> tuple[Trace, CalibrationImages | None]:
    """What an adaptation needs beside the student: the dense model's trace, and images or none.

    Raises DataError where there are no images.
    """
    images = workspace.images(step.images) if step.needs_images else None
    return find_groups(student.dense, workspace.exp.test_size).trace, images


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
