"""How sure an AP is: an interval for what the detector has on any number of images of this kind.

What is covered: the AP that the same weights would have on infinitely many images drawn as these
were, averaged over the classes that have boxes here. Other training runs are not covered.

AP of a few images is not an unbiased estimate of that. Every true positive counts itself in its
precision, and the envelope takes the best of several noisy precisions, so AP reads too high, the
more the fewer boxes a class has. Resampling with replacement adds the same error once more, which
is why percentile intervals of AP miss on one side (`benchmarks/README.md` has the simulation).
Here the error is estimated from random halves and quarters of the images, drawn without
replacement, and taken off. The spread comes from the jackknife over images. Student's t allows for
few images that decide, the acceleration for errors that grow with AP.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from yolox.defaults import SUBSETS
from yolox.eval.matches import FloatArray, ImageMatches, Points, class_ap

CONFIDENCE = 0.95
PARTS = (2, 4)  # subsets are halves and quarters of the images
OFFSET = 2.0  # bias ~ 1 / (images with the class + OFFSET): fits simulations and COCO
GROUPS = 500  # at most so many groups of images are left out, one at a time
FEW_IMAGES = 5  # a class in fewer images is called rare
FEW_FREEDOMS = 12.0  # simulated coverage falls to 85 % where AP is near 0
FEWEST_FREEDOMS = 3.0  # below, quantiles of Student's t grow without use
MOST_ACCELERATION = 0.2

Statistic = Callable[[npt.NDArray], FloatArray]  # weights [R, images] -> a value per class [R, K]


class Interval(NamedTuple):
    """Of AP or of a difference of two, as fractions."""

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """AP, or a difference of two, and what it says about any number of images of this kind.

    value: measured on these images.
    corrected: value without its bias of few boxes; the best guess.
    interval: 95 %, for AP on infinitely many images. `value` may lie outside.
    classes: those with boxes, over which AP is averaged.
    warning: why the interval deserves less trust, in words, or None.
    """

    value: float
    corrected: float
    interval: Interval
    classes: int
    warning: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Keys for the result of an evaluation; undefined values are null."""
        low, high, middle = (
            None if math.isnan(number) else number for number in (*self.interval, self.corrected)
        )
        return {
            "AP_interval": [low, high],
            "AP_corrected": middle,
            "AP_interval_warning": self.warning,
        }


def ap_interval(
    matches: ImageMatches, subsets: int = SUBSETS, seed: int = 0, points: Points | None = None
) -> Estimate:
    """AP with its interval. subsets: of each size, drawn to estimate the bias.

    points: how AP counts recall (see `class_ap`).
    """

    def ap(weights: npt.NDArray) -> FloatArray:
        return class_ap(matches, weights, points)

    return _estimate(ap, matches, subsets, seed, (0, 1))


def paired_difference(
    first: ImageMatches, second: ImageMatches, subsets: int = SUBSETS, seed: int = 0
) -> Estimate:
    """AP of `second` minus AP of `first`, found on the same images, with its interval.

    Both see the same subsets, so what makes an image hard for both cancels.
    Raises ValueError where the boxes of the two are not the same.
    """
    if first.names != second.names or not np.array_equal(first.boxes, second.boxes):
        raise ValueError("a paired difference needs two results on the same images and boxes")

    def difference(weights: npt.NDArray) -> FloatArray:
        change: FloatArray = class_ap(second, weights) - class_ap(first, weights)
        return change

    return _estimate(difference, first, subsets, seed, (-1, 1))


def _estimate(
    statistic: Statistic, matches: ImageMatches, subsets: int, seed: int, limits: tuple[int, int]
) -> Estimate:
    whole = statistic(np.ones((1, matches.images)))[0]
    if not whole.size:
        nothing = Interval(math.nan, math.nan)
        return Estimate(math.nan, math.nan, nothing, 0, "no class has boxes")
    value = float(whole.mean())
    if matches.images < 2:
        unknown = "one image says nothing about others"
        return Estimate(value, value, Interval(*limits), whole.size, unknown)
    rng = np.random.default_rng(seed)
    bias, bias_error = _bias(statistic, matches.boxes > 0, whole, subsets, rng)
    influence = _influence(statistic, matches.images, whole, rng)
    error = math.hypot(math.sqrt(float((influence**2).sum())), bias_error)
    freedoms, bend = _freedoms(influence), _acceleration(influence)
    quantile = _quantile(max(freedoms, FEWEST_FREEDOMS))
    middle = value - bias
    low = middle - error * quantile / (1 + bend * quantile) ** 2
    high = middle + error * quantile / (1 - bend * quantile) ** 2
    interval = Interval(max(low, limits[0]), min(high, limits[1]))
    corrected = min(max(middle, limits[0]), limits[1])
    warning = _warning(matches, freedoms, error == 0 and value != 0)
    return Estimate(value, corrected, interval, whole.size, warning)


def _warning(matches: ImageMatches, freedoms: float, uniform: bool) -> str | None:
    classes = len(matches.names)
    rare = int(np.count_nonzero(np.count_nonzero(matches.boxes, axis=0) < FEW_IMAGES))
    if uniform:
        return "all images say the same, so nothing is known about AP's spread"
    if 2 * rare > classes:
        return (
            f"{rare} of {classes} classes are in fewer than {FEW_IMAGES} images: how far AP is off "
            "is guessed from the other classes, and the interval is less sure than 95 %"
        )
    if freedoms < FEW_FREEDOMS:
        return "a few images decide: the interval may be too narrow, above all upwards"
    return None


def _bias(
    statistic: Statistic,
    has_class: npt.NDArray[np.bool_],
    whole: FloatArray,
    subsets: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Bias of the mean over classes, and its standard error.

    A class in m images is taken to have bias c / (m + OFFSET), with one c for all classes: the
    slope by which AP rises when a class is left in fewer images. has_class: [images, K].
    """
    chosen = _subsets(len(has_class), subsets, rng)
    images = np.count_nonzero(has_class, axis=0)
    fewer = chosen.astype(float) @ has_class
    present = fewer > 0
    shape = 1 / (images + OFFSET)
    change = np.where(present, 1 / (fewer + OFFSET) - shape, 0.0)
    rise = np.where(present, statistic(chosen) - whole, 0.0)
    products, squares = (change * rise).sum(axis=0), (change**2).sum(axis=0)
    total = float(squares.sum())
    if total == 0:  # no class can lose an image and stay
        return 0.0, 0.0
    slope = float(products.sum()) / total
    scatter = float(((products - slope * squares) ** 2).sum())
    scatter *= len(whole) / max(len(whole) - 1, 1)
    return slope * float(shape.mean()), math.sqrt(scatter) / total * float(shape.mean())


def _subsets(images: int, count: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Random partitions of the images into halves and into quarters: [about 2 * count, images]."""
    chosen = []
    for parts in PARTS:
        for _ in range(max(count // parts, 1)):
            part = rng.permutation(images) % parts
            chosen += [part == number for number in range(parts)]
    return np.array(chosen)


def _influence(
    statistic: Statistic, images: int, whole: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """What each image, or group of images, adds to the error of the mean: [groups].

    The root of their squares' sum is the jackknife's standard error. A class that vanishes with a
    group cannot say how much it would vary; it is given its distance from the mean of all classes
    instead, as with strata of one unit that are collapsed (Cochran 1977, section 5A.12).
    """
    groups = min(images, GROUPS)
    member = rng.permutation(images) % groups if groups < images else np.arange(images)
    without = statistic(member[None] != np.arange(groups)[:, None])
    lost = whole - without
    lost = np.where(np.isnan(lost), whole - whole.mean(), lost).mean(axis=1)
    scaled: FloatArray = (lost - lost.mean()) * math.sqrt((groups - 1) / groups)
    return scaled


def _acceleration(influence: FloatArray) -> float:
    """How the error grows with AP, from the influences' skewness (Efron 1987; DiCiccio 1992)."""
    squares = float((influence**2).sum())
    if squares == 0:
        return 0.0
    value: float = float((influence**3).sum()) / (6 * math.pow(squares, 1.5))
    return min(max(value, -MOST_ACCELERATION), MOST_ACCELERATION)


def _freedoms(influence: FloatArray) -> float:
    """Degrees of freedom of the standard error: few where few images decide (Satterthwaite)."""
    squares = float((influence**2).sum())
    if squares == 0:
        return math.inf
    kurtosis = len(influence) * float((influence**4).sum()) / squares**2
    return 2 * len(influence) / max(kurtosis - 1, 0.5)


def _quantile(freedoms: float) -> float:
    """The upper quantile of Student's t (Abramowitz and Stegun 26.7.5)."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedoms + second / freedoms**2
