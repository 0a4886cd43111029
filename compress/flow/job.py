"""A compression job, and the bench on which its stages work."""

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
from yolox.eval.predict import ImageSource
from yolox.exp import Exp

STAGES = ("mask", "plan", "prune", "adapt", "recover", "merge", "evaluate")
DENSE = "dense"  # as a recipe names the checkpoint that is compressed


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
