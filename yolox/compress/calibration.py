"""Calibration images: canvases as the model will see them, no labels, kept on the disk."""

from collections.abc import Iterator

import numpy as np
import torch
from loguru import logger
from torch import Tensor

from yolox.errors import DataError
from yolox.eval.predict import ImageSource
from yolox.export.calibration import FEWEST, some_canvases
from yolox.files import TemporaryFolder

BATCH = 8


class CalibrationImages:
    """At most `count` images of a source, placed on canvases of `size_hw` pixels.

    Calling it gives them anew, in batches [B, 3, H, W] float on the device. Memory does not grow
    with their number. Raises DataError naming an image that cannot be read, and without images.
    """

    def __init__(
        self,
        source: ImageSource,
        size_hw: tuple[int, int],
        count: int,
        device: torch.device | None = None,
    ):
        if not len(source):
            raise DataError("calibration needs images, there are none")
        if min(len(source), count) < FEWEST:
            logger.warning("only {} images to calibrate with", min(len(source), count))
        self.size_hw, self._device = size_hw, device
        self._count = min(len(source), count)
        self._folder = TemporaryFolder()
        self._path = self._folder.path / "canvases"
        with self._path.open("wb") as file:
            for canvas in some_canvases(source, size_hw, count):
                file.write(np.ascontiguousarray(canvas.transpose(2, 0, 1)).tobytes())

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
        part = object.__new__(CalibrationImages)
        part.__dict__.update(self.__dict__)
        part._count = min(count, self._count)
        return part
