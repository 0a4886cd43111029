"""Calibration images: canvases as the model will see them, no labels, kept on the disk."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from loguru import logger
from torch import Tensor

from yolox.compress.fingerprint import Fingerprints
from yolox.data.dataset import DetectionDataset
from yolox.data.folder import ImageFolder
from yolox.data.sample import channels_first
from yolox.defaults import FEWEST
from yolox.errors import DataError
from yolox.eval.predict import ImageSource
from yolox.export.calibration import chosen_images, some_canvases
from yolox.files import TemporaryFolder

BATCH = 8


class CalibrationImages:
    """At most `count` images of a source, placed on canvases of `size_hw` pixels.

    Calling it gives them anew, in batches [B, 3, H, W] float on the device. Memory does not grow
    with their number. first: only so many of them are read and given. Raises DataError naming an
    image that cannot be read, and without images.
    """

    def __init__(
        self,
        source: ImageSource,
        size_hw: tuple[int, int],
        count: int,
        device: torch.device | None = None,
        first: int | None = None,
    ):
        if not len(source):
            raise DataError("calibration needs images, there are none")
        if min(len(source), count) < FEWEST:
            logger.warning("only {} images to calibrate with", min(len(source), count))
        self.size_hw, self._device = size_hw, device
        self._count = min(len(source), count, count if first is None else first)
        self._folder = TemporaryFolder()
        self._path = self._folder.path / "canvases"
        with self._path.open("wb") as file:
            for canvas in islice(some_canvases(source, size_hw, count), self._count):
                file.write(channels_first(canvas).tobytes())

    def __len__(self) -> int:
        return self._count

    def __call__(self) -> Iterator[Tensor]:
        stored = np.memmap(self._path, np.uint8, "r").reshape(-1, 3, *self.size_hw)
        for start in range(0, self._count, BATCH):
            stop = min(start + BATCH, self._count)
            batch = torch.from_numpy(np.array(stored[start:stop]))
            yield batch.to(self._device).float()

    def first(self, count: int) -> "CalibrationImages":
        """The first of them only, sharing the file."""
        part = copy.copy(self)
        part._count = min(count, self._count)
        return part


@dataclass(frozen=True)
class ImageSet:
    """At most `count` images of a source at `size_hw` pixels, not read yet."""

    source: ImageFolder | DetectionDataset
    size_hw: tuple[int, int]
    count: int

    def open(self, device: torch.device, first: int | None = None) -> CalibrationImages:
        """The images, or the first of them. Raises DataError like `CalibrationImages`."""
        return CalibrationImages(self.source, self.size_hw, self.count, device, first)

    def fingerprint(self, fingerprints: Fingerprints) -> Any:
        """The content of the images that are used, and their size."""
        paths = self.source.paths
        used = chosen_images(len(paths), self.count)
        return [fingerprints.contents(paths[index] for index in used), list(self.size_hw)]


@dataclass(frozen=True)
class LabelledSet:
    """Labelled images, or some of them by their numbers."""

    dataset: DetectionDataset
    used: tuple[int, ...] | None = None

    def fingerprint(self, fingerprints: Fingerprints) -> Any:
        """The content of the labels, and of the images that are used."""
        paths = self.dataset.paths
        images = paths if self.used is None else [paths[index] for index in self.used]
        return {"labels": self.dataset.labels_hash(), "images": fingerprints.contents(images)}
