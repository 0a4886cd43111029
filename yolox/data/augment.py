"""Augmentations as pure functions: what is drawn and what is done with it are kept apart.

Each `draw_*` takes a random generator and gives plain numbers; the function that applies them is
deterministic. The order and the ranges are YOLOX's (YOLOX paper, section 2.1; release 0.3.0).
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from yolox.config import AugmentSpec
from yolox.data.sample import Float32, Sample, UInt8, channels_first

PAD_VALUE = 114
HSV_GAINS = (5, 30, 30)  # largest shift of hue, saturation and value
HUE_STEPS = 180  # OpenCV's uint8 hue


def fit_ratio(size_hw: tuple[int, int], target_hw: tuple[int, int]) -> float:
    """The factor by which an image is scaled to fit into a target, keeping its aspect."""
    return min(target_hw[0] / size_hw[0], target_hw[1] / size_hw[1])


def scaled_size(size_hw: tuple[int, int], ratio: float) -> tuple[int, int]:
    """Height and width after scaling, cut to whole pixels, at least one."""
    return max(int(size_hw[0] * ratio), 1), max(int(size_hw[1] * ratio), 1)


def resize_by(image: UInt8, ratio: float) -> UInt8:
    """Scale [H, W, 3] bilinearly."""
    height, width = scaled_size((image.shape[0], image.shape[1]), ratio)
    if (height, width) == image.shape[:2]:
        return image
    resized: UInt8 = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return resized


def resize_to_fit(sample: Sample, target_hw: tuple[int, int]) -> Sample:
    """Scale image and boxes to fit into the target size."""
    ratio = fit_ratio(sample.size_hw, target_hw)
    boxes = sample.boxes_xyxy * np.float32(ratio)
    return Sample(resize_by(sample.image, ratio), boxes, sample.labels)


def letterbox(image: UInt8, target_hw: tuple[int, int], scale: bool = True) -> tuple[UInt8, float]:
    """Scale to fit (unless told not to) and place at the top left on grey.

    Returns the image [*target_hw, 3] and the ratio by which it was scaled.
    """
    ratio = fit_ratio((image.shape[0], image.shape[1]), target_hw) if scale else 1.0
    resized = resize_by(image, ratio)
    if resized.shape[:2] == tuple(target_hw):
        return resized, ratio
    canvas = np.full((*target_hw, 3), PAD_VALUE, np.uint8)
    canvas[: resized.shape[0], : resized.shape[1]] = resized
    return canvas, ratio


def clip_boxes(boxes_xyxy: Float32, size_hw: tuple[int, int]) -> Float32:
    """Boxes [N, 4] cut at the border of an image."""
    height, width = size_hw
    limits = np.array([width, height, width, height], np.float32)
    return np.clip(boxes_xyxy, 0, limits).astype(np.float32)


def draw_hsv(rng: np.random.Generator) -> tuple[int, int, int]:
    """Shifts of hue, saturation and value; each channel is left alone half of the time."""
    gains = rng.uniform(-1, 1, 3) * HSV_GAINS * rng.integers(0, 2, 3)
    hue, saturation, value = gains.astype(np.int16).tolist()
    return hue, saturation, value


def shift_hsv(image: UInt8, shifts: tuple[int, int, int]) -> UInt8:
    """Add to hue (modulo 180), saturation and value (clipped) of a BGR image [H, W, 3]."""
    hue, saturation, value = shifts
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    if hue:
        table = ((np.arange(256) + hue) % HUE_STEPS).astype(np.uint8)
        cv2.insertChannel(cv2.LUT(cv2.extractChannel(hsv, 0), table), hsv, 0)
    if saturation or value:
        cv2.add(hsv, (0, saturation, value, 0), hsv)
    shifted: UInt8 = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    return shifted


def flip(sample: Sample) -> Sample:
    """Mirror image and boxes left to right."""
    boxes = flipped_boxes(sample.boxes_xyxy, sample.size_hw[1])
    return Sample(cv2.flip(sample.image, 1), boxes, sample.labels)  # type: ignore[arg-type]


def flipped_boxes(boxes_xyxy: Float32, width: int) -> Float32:
    """Boxes [N, 4] of an image that is mirrored left to right."""
    boxes: Float32 = boxes_xyxy.copy()
    boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    return boxes


class AffineDraw(NamedTuple):
    """angle and shears in degrees; tx, ty as shares of the target's width and height."""

    angle: float
    scale: float
    shear_x: float
    shear_y: float
    tx: float
    ty: float


def draw_affine(rng: np.random.Generator, spec: AugmentSpec) -> AffineDraw:
    """Rotation, scale, shear and translation within the ranges of the spec."""
    return AffineDraw(
        angle=rng.uniform(-spec.degrees, spec.degrees),
        scale=rng.uniform(*spec.mosaic_scale),
        shear_x=rng.uniform(-spec.shear, spec.shear),
        shear_y=rng.uniform(-spec.shear, spec.shear),
        tx=rng.uniform(-spec.translate, spec.translate),
        ty=rng.uniform(-spec.translate, spec.translate),
    )


def affine_matrix(draw: AffineDraw, target_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    """[2, 3] matrix about the origin: rotation and scale, then shear, then translation."""
    rotation = cv2.getRotationMatrix2D((0, 0), draw.angle, draw.scale)
    matrix = np.empty((2, 3))
    matrix[0] = rotation[0] + math.tan(math.radians(draw.shear_y)) * rotation[1]
    matrix[1] = rotation[1] + math.tan(math.radians(draw.shear_x)) * rotation[0]
    matrix[:, 2] = draw.tx * target_hw[1], draw.ty * target_hw[0]
    return matrix


def warp(sample: Sample, matrix: npt.NDArray[np.float64], target_hw: tuple[int, int]) -> Sample:
    """Apply an affine matrix to image and boxes."""
    height, width = target_hw
    image: UInt8 = cv2.warpAffine(
        sample.image, matrix, dsize=(width, height), borderValue=(PAD_VALUE,) * 3
    )
    return Sample(image, warped_boxes(sample.boxes_xyxy, matrix, target_hw), sample.labels)


def warped_boxes(
    boxes_xyxy: Float32, matrix: npt.NDArray[np.float64], target_hw: tuple[int, int]
) -> Float32:
    """Boxes [N, 4] become the clipped hull of their four mapped corners."""
    corners = boxes_xyxy[:, [0, 1, 2, 3, 0, 3, 2, 1]].reshape(-1, 4, 2).astype(np.float64)
    mapped = corners @ matrix[:, :2].T + matrix[:, 2]
    hulls = np.concatenate([mapped.min(axis=1), mapped.max(axis=1)], axis=1).astype(np.float32)
    return clip_boxes(hulls, target_hw)


def to_targets(sample: Sample, ratio: float, max_labels: int) -> tuple[Float32, bool]:
    """Padded rows [max_labels, 5] (class, cx, cy, w, h), and whether any box is large enough.

    Boxes are scaled by `ratio`; those of at most one pixel in width or height are left out.
    """
    boxes = sample.boxes_xyxy * np.float32(ratio)
    sizes = boxes[:, 2:] - boxes[:, :2]
    keep = sizes.min(axis=1) > 1 if len(boxes) else np.zeros(0, bool)
    rows = _rows(boxes[keep], sample.labels[keep], max_labels)
    return rows, bool(keep.any())


def all_targets(sample: Sample, ratio: float, max_labels: int) -> Float32:
    """Padded target rows of every box, whatever its size."""
    return _rows(sample.boxes_xyxy * np.float32(ratio), sample.labels, max_labels)


def _rows(boxes_xyxy: Float32, labels: npt.NDArray[np.int64], max_labels: int) -> Float32:
    rows = np.zeros((max_labels, 5), np.float32)
    count = min(len(boxes_xyxy), max_labels)
    low, high = boxes_xyxy[:count, :2], boxes_xyxy[:count, 2:]
    rows[:count, 0] = labels[:count]
    rows[:count, 1:3] = (low + high) / 2
    rows[:count, 3:5] = high - low
    return rows


def finish_training_sample(
    sample: Sample, target_hw: tuple[int, int], spec: AugmentSpec, rng: np.random.Generator
) -> tuple[UInt8, Float32]:
    """Colour, flip, letterbox and target rows: the last step for every training image.

    Where no box survives, the image goes on unaugmented with all its boxes, as in YOLOX.
    Returns image [3, H, W] uint8 BGR and targets [max_labels, 5].
    """
    changed = sample
    if rng.random() < spec.hsv_prob:
        shifted = shift_hsv(sample.image, draw_hsv(rng))
        changed = Sample(shifted, sample.boxes_xyxy, sample.labels)
    if rng.random() < spec.flip_prob:
        changed = flip(changed)
    image, ratio = letterbox(changed.image, target_hw)
    targets, survived = to_targets(changed, ratio, spec.max_labels)
    if not survived and len(sample.boxes_xyxy):
        image, ratio = letterbox(sample.image, target_hw)
        targets = all_targets(sample, ratio, spec.max_labels)
    return channels_first(image), targets
