"""A compression job, and what its stages share: checkpoints, images, labelled data."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from loguru import logger

from yolox.compress.calibration import CalibrationImages
from yolox.compress.contents import Contents
from yolox.compress.recipe import Recipe
from yolox.compress.steps import AdaptStep
from yolox.data.coco import CocoDataset
from yolox.data.folder import ImageFolder, find_images
from yolox.engine import checkpoint
from yolox.engine.checkpoint import lean
from yolox.engine.masks import check_masks
from yolox.engine.restore import restore_content
from yolox.engine.state import RunOptions
from yolox.errors import DataError, ModelError, UsageError
from yolox.exp import BaseExp
from yolox.export.calibration import chosen_images
from yolox.families import DetectorSpec, spec_to_dict
from yolox.families.base import Distance
from yolox.models.network import Network

STAGES = ("mask", "plan", "prune", "adapt", "recover", "merge", "control", "evaluate")
DENSE = "dense"  # as a recipe names the checkpoint that is compressed
CONTROL = "control"  # the dense model, tuned as long as the compressed one
PLAN = "plan"  # the one artefact that is no checkpoint
WRITTEN = {  # files and folders in the output folder, by stage
    "mask": ("mask.pth",), "plan": ("plan.json",), "prune": ("pruned.pth",),
    "adapt": ("adapted.pth", "parts"), "recover": ("recovered.pth", "recover"),
    "merge": ("merged.pth",), "control": ("control.pth", "control"),
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What to compress (a checkpoint, and the experiment it belongs to), how, and where to.

    calibration: folder of images (None: the experiment's training images). start: the stage from
    which all are done anew, whatever was done before. control: whether the dense model is tuned as
    long as the compressed one, too.
    """

    ckpt: str
    exp: BaseExp
    recipe: Recipe
    out: Path
    options: RunOptions
    until: str = "evaluate"
    start: str | None = None
    evaluated: bool = True
    calibration: str | None = None
    backends: tuple[str, ...] = ("torch",)
    resamples: int = 200
    control: bool = False


def checkpoints(files: Mapping[str, Path]) -> dict[str, Path]:
    """The checkpoints among artefacts, by name."""
    return {name: path for name, path in files.items() if name != PLAN}


def load_trainable(
    path: str, expected: DetectorSpec | None = None
) -> tuple[dict[str, Any], Network]:
    """A checkpoint with batch norms and its model; the checkpoint's `spec` is filled in.

    expected: the experiment's architecture, for checkpoints that state none. Raises ModelError
    where the checkpoint is merged, states no architecture and none is expected, or does not fit.
    """
    content = checkpoint.read(path)
    if "sparse" in content:
        raise ModelError(f"checkpoint {path} is merged already: name the one it was made from")
    restored = restore_content(content, path, expected)
    check_masks(restored.masks, restored.model, f"checkpoint {path}")
    content["spec"] = spec_to_dict(restored.spec)
    return content, restored.model


def require_input_kept(path: str | Path, out: Path, stages: Iterable[str]) -> None:
    """Raises UsageError where a stage would write an input anew."""
    folder, own = out.resolve(), Path(path).resolve()
    for stage in stages:
        if folder in own.parents and own.relative_to(folder).parts[0] in WRITTEN[stage]:
            raise UsageError(
                f"{path} would be overwritten by the {stage} stage: name another --out"
            )


class Workspace:
    """What stages share: checkpoints in and out, and calibration images, when they are needed."""

    def __init__(self, job: Job):
        self.job, self.recipe, self.exp = job, job.recipe, job.exp

    @cached_property
    def source(self) -> ImageFolder | CocoDataset:
        """Images to calibrate with. Raises DataError."""
        if self.job.calibration:
            return find_images(Path(self.job.calibration))
        return self.exp.get_dataset()

    @cached_property
    def selection_set(self) -> CocoDataset | None:
        """Labelled images on which the better of two models is chosen; None where there are none.

        Those set aside for it (`select_ann`, `select_share`), else the validation images.
        """
        if not self.job.evaluated:
            return None
        try:
            return self.exp.get_select_dataset() or self.exp.get_eval_dataset()
        except DataError as error:
            logger.warning("nothing to measure AP on ({})", error)
            return None

    @cached_property
    def _contents(self) -> Contents:
        return Contents(self.job.out / "contents.json")

    @cached_property
    def distance(self) -> Distance:
        """How far the raw predictions of two models are from each other."""
        return self.exp.get_criterion().distance

    @property
    def selection_images(self) -> int:
        """How many images judge a fine-tune where no labelled ones do."""
        return self.recipe.adapt.images if self.recipe.adapt is not None else AdaptStep.images

    def calibration_hash(self, count: int) -> str:
        """Of the content of the images that `images(count)` gives. Raises DataError."""
        paths = self.source.paths
        return self._contents.of(paths[index] for index in chosen_images(len(paths), count))

    def labelled_hash(
        self, dataset: CocoDataset, used: Sequence[int] | None = None
    ) -> dict[str, str]:
        """Of the content of labels and images, or of some of the images. Raises DataError."""
        paths = dataset.paths
        images = paths if used is None else [paths[index] for index in used]
        return {
            "labels": self._contents.of([dataset.json_path]),
            "images": self._contents.of(images),
        }

    def images(self, count: int) -> CalibrationImages:
        """At most `count` of them, as the model will see them."""
        return CalibrationImages(self.source, self.exp.test_size, count, self.job.options.device)

    def load(self, path: Path) -> tuple[dict[str, Any], Network]:
        """A trainable checkpoint and its model, on the job's device."""
        content, model = load_trainable(str(path), self.exp.detector_spec())
        content.setdefault("exp", self.exp.origin())
        return content, model.to(self.job.options.device)

    def save(
        self,
        name: str,
        content: Mapping[str, Any],
        model: Network,
        masks: Any,
        channels: Any,
        chosen: Mapping[str, Any] | None = None,
    ) -> Path:
        """A trainable checkpoint without training state; what `content` says of it is kept.

        chosen: how this model, and not the one that `content` was of, was chosen among others.
        """
        weights = {key: value.cpu() for key, value in model.state_dict().items()}
        path = self.job.out / name
        new = {"model": weights, "masks": dict(masks), "channels": channels or {}}
        choice = {} if chosen is None else {"chosen": dict(chosen)}
        checkpoint.save(path, {**lean(content), **new, **choice})
        return path
