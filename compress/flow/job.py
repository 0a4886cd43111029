"""A compression job, and the bench on which its stages work."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from compress.fit.images import CalibrationImages
from compress.flow.recipe import Recipe
from compress.flow.source import load_trainable
from yolox.data.folder import find_images
from yolox.engine import checkpoint
from yolox.engine.checkpoint import lean
from yolox.engine.state import RunOptions
from yolox.errors import UsageError
from yolox.eval.predict import ImageSource
from yolox.exp import Exp
from yolox.files import file_hash

STAGES = ("mask", "plan", "prune", "adapt", "recover", "merge", "evaluate")
DENSE = "dense"  # as a recipe names the checkpoint that is compressed
PLAN = "plan"  # the one artefact that is no checkpoint
WRITTEN = {  # files and folders in the output folder, by stage
    "mask": ("mask.pth",), "plan": ("plan.json",), "prune": ("pruned.pth",),
    "adapt": ("adapted.pth", "parts"), "recover": ("recovered.pth", "recover"),
    "merge": ("merged.pth",),
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What to compress (a checkpoint, and the experiment it belongs to), how, and where to.

    calibration: folder of images (None: the experiment's training images). start: the stage from
    which all are done anew, whatever was done before.
    """

    ckpt: str
    exp: Exp
    recipe: Recipe
    out: Path
    options: RunOptions
    until: str = "evaluate"
    start: str | None = None
    evaluated: bool = True
    calibration: str | None = None
    backends: tuple[str, ...] = ("torch",)
    resamples: int = 200


def checkpoints(files: Mapping[str, Path]) -> dict[str, Path]:
    """The checkpoints among artefacts, by name."""
    return {name: path for name, path in files.items() if name != PLAN}


def require_input_kept(path: str | Path, out: Path, stages: Iterable[str]) -> None:
    """Raises UsageError where a stage would write an input anew."""
    folder, own = out.resolve(), Path(path).resolve()
    for stage in stages:
        if folder in own.parents and own.relative_to(folder).parts[0] in WRITTEN[stage]:
            raise UsageError(
                f"{path} would be overwritten by the {stage} stage: name another --out"
            )


class Bench:
    """What stages share: checkpoints in and out, and calibration images, when they are needed."""

    def __init__(self, job: Job):
        self.job, self.recipe, self.exp = job, job.recipe, job.exp

    @cached_property
    def source(self) -> ImageSource:
        """Images to calibrate with. Raises DataError."""
        if self.job.calibration:
            return find_images(Path(self.job.calibration))
        return self.exp.get_dataset()

    @cached_property
    def data_facts(self) -> dict[str, Any]:
        """What tells whether the data are those of an earlier run: labels, and the folder's files.

        The training images themselves are not looked at.
        """
        exp, folder = self.exp, self.job.calibration
        labels = exp.data_root() / "annotations" / exp.train_ann
        return {
            "train": [str(exp.data_root()), exp.train_ann, exp.train_name],
            "labels": file_hash(labels) if labels.is_file() else None,
            "calibration": [
                (str(path), path.stat().st_size, path.stat().st_mtime_ns)
                for path in (find_images(Path(folder)).paths if folder else ())
            ],
        }

    def images(self, count: int) -> CalibrationImages:
        """At most `count` of them, as the model will see them."""
        return CalibrationImages(self.source, self.exp.test_size, count, self.job.options.device)

    def load(self, path: Path) -> tuple[dict[str, Any], nn.Module]:
        """A trainable checkpoint and its model, on the job's device."""
        content, model = load_trainable(str(path), self.exp.detector_spec())
        content.setdefault("exp", self.exp.origin())
        return content, model.to(self.job.options.device)

    def save(
        self, name: str, content: dict[str, Any], model: nn.Module, masks: Any, channels: Any
    ) -> Path:
        """A trainable checkpoint without training state."""
        weights = {key: value.cpu() for key, value in model.state_dict().items()}
        path = self.job.out / name
        new = {"model": weights, "masks": dict(masks), "channels": channels or {}}
        checkpoint.save(path, {**lean(content), **new})
        return path
