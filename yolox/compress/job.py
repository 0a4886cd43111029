"""A compression job: what to compress and how, and the images that its stages may be given."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from loguru import logger

from yolox.compress.calibration import ImageSet, LabelledSet
from yolox.compress.recipe import Recipe
from yolox.compress.selection import ApMeasure, OutputDistance, SelectionRule
from yolox.data.dataset import DetectionDataset
from yolox.data.folder import ImageFolder, find_images
from yolox.defaults import EVALUATE
from yolox.engine.state import RunOptions
from yolox.errors import DataError
from yolox.exp import BaseExp


@dataclass(frozen=True, kw_only=True)
class CompressionTask:
    """What to work on (a checkpoint, and the experiment it belongs to), and where to.

    calibration: folder of images (None: the experiment's training images). evaluated: whether
    labelled images may be looked at.
    """

    ckpt: str
    exp: BaseExp
    out: Path
    options: RunOptions
    calibration: str | None = None
    evaluated: bool = True

    @cached_property
    def image_source(self) -> ImageFolder | DetectionDataset:
        """Images to calibrate with. Raises DataError."""
        if self.calibration:
            return find_images(Path(self.calibration))
        return self.exp.get_dataset()

    @cached_property
    def selection_set(self) -> DetectionDataset | None:
        """Labelled images on which the better of two models is chosen; None where there are none.

        Those set aside for it (`select_ann`, `select_share`), else the validation images.
        """
        if not self.evaluated:
            return None
        try:
            return self.exp.get_select_dataset() or self.exp.get_eval_dataset()
        except DataError as error:
            logger.warning("nothing to measure AP on ({})", error)
            return None

    @property
    def distance(self) -> OutputDistance:
        """How far the raw predictions of two models are from each other."""
        return OutputDistance(self.exp)

    def images(self, count: int) -> ImageSet:
        """At most `count` calibration images, as the model will see them. Raises DataError."""
        return ImageSet(self.image_source, self.exp.test_size, count)

    def ap_on(self, dataset: DetectionDataset) -> ApMeasure:
        """AP on labelled images, as the experiment evaluates."""
        return ApMeasure(LabelledSet(dataset), self.exp.test_size, self.exp.predict_options())

    def selection_rule(self, count: int | None) -> SelectionRule:
        """How the better of several models is found.

        count: calibration images to compare outputs on where there are no labelled ones (None: then
        nothing is measured).
        """
        labelled = self.selection_set
        images = self.images(count) if labelled is None and count is not None else None
        ap = None if labelled is None else self.ap_on(labelled)
        return SelectionRule(ap, images, self.distance)


@dataclass(frozen=True, kw_only=True)
class CompressionJob(CompressionTask):
    """A whole compression: which stages there are, and how far they go.

    start: the stage from which all are done anew, whatever was done before. control: whether the
    dense model is tuned as long as the compressed one, too. backends: to measure latency with.
    resamples: random parts of the images of which intervals of AP are made (0: no intervals).
    """

    recipe: Recipe
    until: str = EVALUATE
    start: str | None = None
    backends: tuple[str, ...] = ("torch",)
    resamples: int = 200
    control: bool = False

    @cached_property
    def learns_from_pictures(self) -> bool:
        """Whether the recovery has pictures without labels."""
        return self.recipe.recover is not None and self.recipe.recover.images is not None

    @cached_property
    def selection_set(self) -> DetectionDataset | None:
        """As of any task; but validation images choose nothing where pictures can."""
        if self.learns_from_pictures and self.exp.get_select_dataset() is None:
            return None
        return super().selection_set
