"""Images to quantise with and to compare outputs on: canvases as the model will see them."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from yolox.data.augment import letterbox
from yolox.data.sample import UInt8
from yolox.data.synthetic import SyntheticSpec, draw_image
from yolox.defaults import FEWEST
from yolox.errors import DataError
from yolox.eval.predict import ImageSource

SEED = 0
CLIPPED = 1e-5  # share of activations beyond the range, on either side
RESERVE = 8  # times the rare values of one image are kept, for images that have more than others
SMALLEST_SCENE = 64  # pixels


def canvases(source: ImageSource, size_hw: tuple[int, int], count: int) -> Tensor:
    """[n, 3, H, W] uint8: at most `count` images of a source, drawn at random but always the same.

    Raises DataError naming an image that cannot be read.
    """
    images = list(some_canvases(source, size_hw, count))
    return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy())


def some_canvases(source: ImageSource, size_hw: tuple[int, int], count: int) -> Iterator[UInt8]:
    """The same, one [H, W, 3] at a time."""
    for index in chosen_images(len(source), count):
        yield letterbox(source.read_image(index), size_hw)[0]


def chosen_images(total: int, count: int) -> list[int]:
    """Numbers of at most `count` of `total` images, ascending: at random but always the same."""
    order = np.random.default_rng(SEED).permutation(total)[:count]
    return sorted(order.tolist())


def calibration_images(source: ImageSource, size_hw: tuple[int, int], count: int) -> Tensor:
    """Canvases to calibrate with. Raises DataError where there are too few."""
    found = canvases(source, size_hw, count) if len(source) and count > 0 else torch.empty(0)
    if len(found) < FEWEST:
        raise DataError(f"calibration needs at least {FEWEST} images, there are {len(found)}")
    return found


def drawn_images(size_hw: tuple[int, int], count: int) -> Tensor:
    """Scenes of the embedded data set, for the case that no image is at hand."""
    spec = SyntheticSpec(val_images=count, size=max(min(size_hw), SMALLEST_SCENE), seed=SEED)
    scenes = [draw_image(spec, "val", number)[0] for number in range(count)]
    images = np.stack([letterbox(image, size_hw)[0] for image in scenes])
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


class Ranges:
    """Ranges of named values over all images, but for the rarest 0.001 % on either side.

    Only the extremes of each image are kept, so memory does not grow with the values.
    """

    def __init__(self) -> None:
        self._high: dict[str, Tensor] = {}
        self._low: dict[str, Tensor] = {}
        self._rare: dict[str, int] = {}

    def add(self, name: str, values: Tensor) -> None:
        """Note a value of one image."""
        flat = values.flatten().float()
        rare = max(int(flat.numel() * CLIPPED), 1)
        self._rare[name] = self._rare.get(name, 0) + rare
        most = min(RESERVE * rare, flat.numel())
        for kept, ordered in ((self._high, flat), (self._low, -flat)):
            top = ordered.topk(most).values
            both = torch.cat([kept[name], top]) if name in kept else top
            kept[name] = both.topk(min(len(both), max(self._rare[name], most))).values

    def found(self) -> dict[str, tuple[float, float]]:
        """(lowest, highest) by name; zero lies within, as it must be a level of its own."""
        return {
            name: (
                min(-float(self._low[name][min(rare, len(self._low[name])) - 1]), 0.0),
                max(float(self._high[name][min(rare, len(self._high[name])) - 1]), 0.0),
            )
            for name, rare in self._rare.items()
        }


def one_by_one(images: Tensor, batch: int | None = 1) -> Iterator[Tensor]:
    """[batch, 3, H, W] float in turn, each image repeated to a graph's fixed batch (None: one)."""
    for image in images:
        yield image.float().expand(batch or 1, -1, -1, -1).contiguous()
