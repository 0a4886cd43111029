"""Mosaic and mixup (YOLOX paper, section 2.1), as pure functions of what was drawn."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from yolox.data.augment import PAD_VALUE, clip_boxes, flip, letterbox
from yolox.data.sample import Sample


def draw_centre(rng: np.random.Generator, size_hw: tuple[int, int]) -> tuple[int, int]:
    """(yc, xc) of the point where four tiles meet, on a canvas of twice the size."""
    height, width = size_hw
    return int(rng.uniform(0.5 * height, 1.5 * height)), int(rng.uniform(0.5 * width, 1.5 * width))


def mosaic(tiles: Sequence[Sample], centre_yx: tuple[int, int], size_hw: tuple[int, int]) -> Sample:
    """Four tiles around a centre on a grey canvas [2H, 2W]; boxes are shifted and clipped.

    Tiles go top left, top right, bottom left, bottom right, their inner corners at the centre;
    what does not fit is cut off.
    """
    height, width = size_hw
    canvas = np.full((2 * height, 2 * width, 3), PAD_VALUE, np.uint8)
    boxes = []
    for place, tile in enumerate(tiles):
        y0, x0 = _top_left(place, tile.size_hw, centre_yx)
        _paste(canvas, tile, y0, x0)
        boxes.append(tile.boxes_xyxy + np.array([x0, y0, x0, y0], np.float32))
    return Sample(
        canvas,
        clip_boxes(np.concatenate(boxes), (2 * height, 2 * width)),
        np.concatenate([tile.labels for tile in tiles]),
    )


def _top_left(place: int, tile_hw: tuple[int, int], centre_yx: tuple[int, int]) -> tuple[int, int]:
    """Where the tile's top-left corner comes to lie; negative where it is cut off."""
    below, right = divmod(place, 2)
    y = centre_yx[0] if below else centre_yx[0] - tile_hw[0]
    x = centre_yx[1] if right else centre_yx[1] - tile_hw[1]
    return y, x


def _paste(canvas: np.ndarray, tile: Sample, y0: int, x0: int) -> None:
    height, width = tile.size_hw
    top, left = max(y0, 0), max(x0, 0)
    bottom, right = min(y0 + height, canvas.shape[0]), min(x0 + width, canvas.shape[1])
    if bottom > top and right > left:
        canvas[top:bottom, left:right] = tile.image[top - y0 : bottom - y0, left - x0 : right - x0]


class MixupDraw(NamedTuple):
    """scale of the partner, whether it is mirrored, and its crop as a share of what is cut off."""

    scale: float
    mirrored: bool
    crop_y: float
    crop_x: float


def draw_mixup(rng: np.random.Generator, scales: tuple[float, float]) -> MixupDraw:
    """A scale within the range; the rest evenly."""
    return MixupDraw(rng.uniform(*scales), bool(rng.random() < 0.5), rng.random(), rng.random())


def mixup(sample: Sample, partner: Sample, draw: MixupDraw) -> Sample:
    """The mean of an image and a rescaled, mirrored, shifted partner; boxes of both.

    A partner smaller than the image stands on black.
    """
    height, width = sample.size_hw
    boxed, ratio = letterbox(partner.image, (height, width))
    scaled = cv2.resize(boxed, (int(width * draw.scale), int(height * draw.scale)))
    size_hw = (scaled.shape[0], scaled.shape[1])
    boxes = clip_boxes(partner.boxes_xyxy * np.float32(ratio * draw.scale), size_hw)
    placed = Sample(scaled, boxes, partner.labels)
    if draw.mirrored:
        placed = flip(placed)
    y0 = int(draw.crop_y * max(size_hw[0] - height, 0))
    x0 = int(draw.crop_x * max(size_hw[1] - width, 0))
    other = np.zeros_like(sample.image)
    cropped = placed.image[y0 : y0 + height, x0 : x0 + width]
    other[: cropped.shape[0], : cropped.shape[1]] = cropped
    image = ((sample.image.astype(np.uint16) + other) >> 1).astype(np.uint8)
    shifted = clip_boxes(
        placed.boxes_xyxy - np.array([x0, y0, x0, y0], np.float32), (height, width)
    )
    return Sample(
        image,
        np.concatenate([sample.boxes_xyxy, shifted]),
        np.concatenate([sample.labels, placed.labels]),
    )
