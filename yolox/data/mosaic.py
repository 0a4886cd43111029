"""Mosaic and mixup (YOLOX paper, section 2.1), as pure functions of what was drawn."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from yolox.data.augment import PAD_VALUE, clip_boxes, flipped_boxes, letterbox
from yolox.data.sample import Float32, Int64, Sample, UInt8


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
    for place, tile in enumerate(tiles):
        paste(canvas, tile.image, *top_left(place, tile.size_hw, centre_yx))
    return Sample(canvas, *mosaic_boxes(tiles, centre_yx, size_hw))


class Placed(Protocol):
    """What is known of a tile without its pixels; see `Sample`."""

    @property
    def size_hw(self) -> tuple[int, int]: ...
    @property
    def boxes_xyxy(self) -> Float32: ...
    @property
    def labels(self) -> Int64: ...


def mosaic_boxes(
    tiles: Sequence[Placed], centre_yx: tuple[int, int], size_hw: tuple[int, int]
) -> tuple[Float32, Int64]:
    """Boxes [N, 4] of four tiles in pixels of the canvas, clipped to it, and their labels [N]."""
    boxes = []
    for place, tile in enumerate(tiles):
        y0, x0 = top_left(place, tile.size_hw, centre_yx)
        boxes.append(tile.boxes_xyxy + np.array([x0, y0, x0, y0], np.float32))
    canvas_hw = 2 * size_hw[0], 2 * size_hw[1]
    labels = np.concatenate([tile.labels for tile in tiles])
    return clip_boxes(np.concatenate(boxes), canvas_hw), labels


def top_left(place: int, tile_hw: tuple[int, int], centre_yx: tuple[int, int]) -> tuple[int, int]:
    """Where the tile's top-left corner comes to lie; negative where it is cut off."""
    below, right = divmod(place, 2)
    y = centre_yx[0] if below else centre_yx[0] - tile_hw[0]
    x = centre_yx[1] if right else centre_yx[1] - tile_hw[1]
    return y, x


def paste(canvas: UInt8, image: UInt8, y0: int, x0: int) -> None:
    """Put an image onto a canvas, its top-left corner at y0, x0; what does not fit is cut off."""
    top, left = max(y0, 0), max(x0, 0)
    bottom = min(y0 + image.shape[0], canvas.shape[0])
    right = min(x0 + image.shape[1], canvas.shape[1])
    if bottom > top and right > left:
        canvas[top:bottom, left:right] = image[top - y0 : bottom - y0, left - x0 : right - x0]


class MixupDraw(NamedTuple):
    """scale of the partner, whether it is mirrored, and its crop as a share of what is cut off."""

    scale: float
    mirrored: bool
    crop_y: float
    crop_x: float

    def scaled_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the rescaled partner of an image of that size."""
        return int(size_hw[0] * self.scale), int(size_hw[1] * self.scale)

    def corner_yx(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Where in the rescaled partner that which is shown of it begins."""
        height, width = self.scaled_hw(size_hw)
        return (
            int(self.crop_y * max(height - size_hw[0], 0)),
            int(self.crop_x * max(width - size_hw[1], 0)),
        )


def draw_mixup(rng: np.random.Generator, scales: tuple[float, float]) -> MixupDraw:
    """A scale within the range; the rest evenly."""
    return MixupDraw(rng.uniform(*scales), bool(rng.random() < 0.5), rng.random(), rng.random())


def mixup(sample: Sample, partner: Sample, draw: MixupDraw) -> Sample:
    """The mean of an image and a rescaled, mirrored, shifted partner; boxes of both.

    A partner smaller than the image stands on black.
    """
    height, width = sample.size_hw
    boxed, ratio = letterbox(partner.image, (height, width))
    scaled = cv2.resize(boxed, draw.scaled_hw((height, width))[::-1])
    boxes = partner.boxes_xyxy * np.float32(ratio)
    y0, x0 = draw.corner_yx((height, width))
    if draw.mirrored:
        scaled = cv2.flip(scaled, 1)
    other = np.zeros_like(sample.image)
    cropped = scaled[y0 : y0 + height, x0 : x0 + width]
    other[: cropped.shape[0], : cropped.shape[1]] = cropped
    return mixed(sample, Sample(other, partner_boxes(boxes, draw, (height, width)), partner.labels))


def partner_boxes(boxes_xyxy: Float32, draw: MixupDraw, size_hw: tuple[int, int]) -> Float32:
    """Boxes [N, 4] of a partner, fitted into the size of the image, where the draw places them."""
    scaled_hw = draw.scaled_hw(size_hw)
    boxes = clip_boxes(boxes_xyxy * np.float32(draw.scale), scaled_hw)
    if draw.mirrored:
        boxes = flipped_boxes(boxes, scaled_hw[1])
    y0, x0 = draw.corner_yx(size_hw)
    return clip_boxes(boxes - np.array([x0, y0, x0, y0], np.float32), size_hw)


def mixed(sample: Sample, other: Sample) -> Sample:
    """The mean of two images of one size, rounded down, and the boxes of both."""
    mean: UInt8 = cv2.addWeighted(sample.image, 0.5, other.image, 0.5, -0.25)  # type: ignore[assignment]
    return Sample(
        mean,
        np.concatenate([sample.boxes_xyxy, other.boxes_xyxy]),
        np.concatenate([sample.labels, other.labels]),
    )
