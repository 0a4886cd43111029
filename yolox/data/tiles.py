"""Mosaic, affine and mixup: every image is warped from its own pixels straight into the output.

The picture is that of `mosaic`, `warp` and `mixup` one after the other, which are the plain form:
the same draws place the same images and boxes. What differs is how pixels are interpolated: once
instead of twice, and from a JPEG decoded at a fraction of its size where the output has no more
pixels than that. Tiles that the output does not show are not decoded.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from yolox.data.augment import PAD_VALUE, resize_by, warped_boxes
from yolox.data.mosaic import MixupDraw, mixed, mosaic_boxes, partner_boxes, paste, top_left
from yolox.data.sample import Float32, Float64, Int64, Sample, UInt8

SHIFT = 4  # fractional bits of the corners of polygons
HALF_PIXEL = 0.5
LARGEST_WARPED = 2**15 - 2  # pixels per side of what OpenCV 4 can warp
WARPED_CHANNELS = 4  # which OpenCV warps faster than three; the last one is not used


@dataclass(frozen=True)
class Tile:
    """An image that is scaled to fit the input size, with its targets, before it is decoded.

    size_hw: height and width after scaling. boxes_xyxy [N, 4]: pixels of that size. labels [N].
    scale: by which the image was or is scaled to have that size. pixels: gives the image
    [H, W, 3] as stored, or smaller by a whole number that is at most its argument.
    """

    size_hw: tuple[int, int]
    boxes_xyxy: Float32
    labels: Int64
    scale: float
    pixels: Callable[[float], UInt8]


def whole_tile(sample: Sample) -> Tile:
    """A sample that is decoded and scaled already."""
    return Tile(sample.size_hw, sample.boxes_xyxy, sample.labels, 1.0, lambda factor: sample.image)


def warped_mosaic(
    tiles: Sequence[Tile], centre_yx: tuple[int, int], matrix: Float64, size_hw: tuple[int, int]
) -> Sample:
    """What `warp(mosaic(tiles, centre_yx, size_hw), matrix, size_hw)` gives."""
    canvas_hw = 2 * size_hw[0], 2 * size_hw[1]
    image = np.full((*size_hw, WARPED_CHANNELS), PAD_VALUE, np.uint8)
    for place, tile in enumerate(tiles):
        y0, x0 = top_left(place, tile.size_hw, centre_yx)
        top, left = max(y0, 0), max(x0, 0)
        bottom = min(y0 + tile.size_hw[0], canvas_hw[0])
        right = min(x0 + tile.size_hw[1], canvas_hw[1])
        if bottom > top and right > left:
            _warp_into(image, tile, (y0, x0), (top, left, bottom, right), matrix)
    boxes, labels = mosaic_boxes(tiles, centre_yx, size_hw)
    shown: UInt8 = cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)  # type: ignore[assignment]
    return Sample(shown, warped_boxes(boxes, matrix, size_hw), labels)


def mixed_up(sample: Sample, partner: Tile, draw: MixupDraw) -> Sample:
    """What `mixup` gives for the partner's sample."""
    height, width = sample.size_hw
    scaled_hw, (y0, x0) = draw.scaled_hw((height, width)), draw.corner_yx((height, width))
    rows = max(round(partner.size_hw[0] * scaled_hw[0] / height), 1)
    columns = max(round(partner.size_hw[1] * scaled_hw[1] / width), 1)
    corner = -y0, (scaled_hw[1] - columns if draw.mirrored else 0) - x0
    image = np.zeros_like(sample.image)
    image[: scaled_hw[0] - y0, : scaled_hw[1] - x0] = PAD_VALUE
    seen = min(corner[0] + rows, corner[1] + columns) > 0
    if seen and corner[0] < height and corner[1] < width:
        pixels = partner.pixels(partner.size_hw[0] / (partner.scale * rows))
        scaled: UInt8 = cv2.resize(pixels, (columns, rows))  # type: ignore[assignment]
        paste(image, cv2.flip(scaled, 1) if draw.mirrored else scaled, *corner)
    boxes = partner_boxes(partner.boxes_xyxy, draw, (height, width))
    return mixed(sample, Sample(image, boxes, partner.labels))


def _warp_into(
    image: UInt8,
    tile: Tile,
    origin_yx: tuple[int, int],
    part: tuple[int, int, int, int],
    matrix: Float64,
) -> None:
    """Draw a part of the canvas that a tile covers: top, left, bottom, right in its pixels.

    image: [H, W, WARPED_CHANNELS].
    """
    top, left, bottom, right = part
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]]) - HALF_PIXEL
    polygon = corners @ matrix[:, :2].T + matrix[:, 2]
    height, width = image.shape[:2]
    low = np.maximum(np.ceil(polygon.min(axis=0)), 0).astype(int)
    high = np.minimum(np.floor(polygon.max(axis=0)), [width - 1, height - 1]).astype(int) + 1
    (x, y), (columns, rows) = low.tolist(), (high - low).tolist()
    if rows <= 0 or columns <= 0:
        return  # not seen
    shrunk = tile.scale * math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
    pixels = tile.pixels(1.0 / shrunk if shrunk else math.inf)
    if max(pixels.shape[:2]) > LARGEST_WARPED:
        pixels = resize_by(pixels, min(tile.scale, 1.0))
    total = matrix @ _to_canvas(tile, pixels, origin_yx)
    total[:, 2] -= x, y
    read, to_source = _read_part(pixels, cv2.invertAffineTransform(total), (rows, columns))
    inside = image[y : y + rows, x : x + columns]
    upright = matrix[0, 1] == 0 and matrix[1, 0] == 0
    warped = cv2.warpAffine(
        cv2.cvtColor(read, cv2.COLOR_BGR2BGRA),
        to_source,
        (columns, rows),
        inside if upright else None,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if not upright:
        mask = np.zeros((rows, columns), np.uint8)
        points = np.round((polygon - [x, y]) * 2**SHIFT).astype(np.int32)
        cv2.fillConvexPoly(mask, points, 255, shift=SHIFT)
        cv2.copyTo(warped, mask, inside)


def _read_part(
    pixels: UInt8, to_source: Float64, size_hw: tuple[int, int]
) -> tuple[UInt8, Float64]:
    """The part of an image that a warp to a size reads, and the [2, 3] matrix from there to it."""
    height, width = size_hw
    ends = np.array([[0, 0], [width, 0], [0, height], [width, height]])
    places = ends @ to_source[:, :2].T + to_source[:, 2]
    most = np.array(pixels.shape[1::-1])
    left, top = np.clip(np.floor(places.min(axis=0)) - 1, 0, most - 1).astype(int).tolist()
    right, bottom = np.clip(np.ceil(places.max(axis=0)) + 2, [left + 1, top + 1], most).astype(int)
    moved = to_source.copy()
    moved[:, 2] -= left, top
    return pixels[top:bottom, left:right], moved


def _to_canvas(tile: Tile, pixels: UInt8, origin_yx: tuple[int, int]) -> Float64:
    """[3, 3] from pixels of an image to those of the canvas; centres of pixels are whole."""
    scale_y, scale_x = (tile.size_hw[axis] / pixels.shape[axis] for axis in (0, 1))
    y0, x0 = origin_yx
    return np.array(
        [
            [scale_x, 0.0, HALF_PIXEL * scale_x - HALF_PIXEL + x0],
            [0.0, scale_y, HALF_PIXEL * scale_y - HALF_PIXEL + y0],
            [0.0, 0.0, 1.0],
        ]
    )
