"""Boxes with class names, drawn into a copy of an image."""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from yolox.data.sample import Float32, Int64, UInt8

Colour = tuple[int, int, int]

_GOLDEN_RATIO = 0.618034  # steps of it around the hue circle keep neighbours far apart
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_HEIGHT = 22.0  # pixels of a capital letter at scale 1


def class_colour(label: int) -> Colour:
    """A colour (BGR) of its own for each class index."""
    hue = (label * _GOLDEN_RATIO) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.9 if label % 2 else 0.65, 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)


def draw_boxes(
    image: UInt8,
    boxes_xyxy: Float32,
    labels: Int64,
    class_names: Sequence[str],
    scores: Float32 | None = None,
) -> UInt8:
    """A new image with each box, its class name and, where given, its score in percent.

    image: [H, W, 3] uint8 BGR; it is left as it is.
    boxes_xyxy: [N, 4], pixels; parts outside the image are not shown.
    labels: [N] class indices into `class_names`; scores: [N], 0 to 1.
    """
    canvas = image.copy()
    size = min(image.shape[:2])
    line = max(1, round(size / 250))
    letter = max(7.0, size / 45)
    limit = np.array([image.shape[1], image.shape[0]] * 2) - 1
    corners = np.clip(np.rint(boxes_xyxy), 0, limit).astype(int).tolist()
    for number, (x1, y1, x2, y2) in enumerate(corners):
        label = int(labels[number])
        text = class_names[label] + ("" if scores is None else f" {scores[number]:.0%}")
        colour = class_colour(label)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, line)
        _write(canvas, text, (x1, y1), letter, colour)
    drawn: UInt8 = canvas
    return drawn


def _write(
    canvas: UInt8, text: str, corner: tuple[int, int], letter: float, colour: Colour
) -> None:
    """Text on a plate of its class's colour, above the corner or, at the border, inside the image.

    letter: height of a capital letter in pixels.
    """
    scale, thickness = letter / _FONT_HEIGHT, max(1, round(letter / 10))
    (width, height), below = cv2.getTextSize(text, _FONT, scale, thickness)
    pad = max(1, round(letter / 6))
    x = max(0, min(corner[0], canvas.shape[1] - width - 2 * pad))
    bottom = max(corner[1], height + below + 2 * pad)
    top = bottom - height - below - 2 * pad
    cv2.rectangle(canvas, (x, top), (x + width + 2 * pad, bottom), colour, -1)
    blue, green, red = colour
    is_light = 0.114 * blue + 0.587 * green + 0.299 * red > 140  # luma, ITU-R BT.601
    ink = (0, 0, 0) if is_light else (255, 255, 255)
    at = (x + pad, bottom - below - pad)
    cv2.putText(canvas, text, at, _FONT, scale, ink, thickness, cv2.LINE_AA)
