"""A metric over training runs: their mean, and an interval for the mean of any such runs."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from yolox.eval.intervals import CONFIDENCE


class OverRuns(NamedTuple):
    """mean; low and high of its 95 % interval (Student's t); n: number of runs.

    What is covered: the mean that this training has over seeds, on these images. low and high are
    NaN for one run.
    """

    mean: float
    low: float
    high: float
    n: int


def over_runs(values: Sequence[float]) -> OverRuns:
    """Of a metric in several runs. Raises ValueError without any."""
    if not values:
        raise ValueError("no runs")
    mean, n = statistics.fmean(values), len(values)
    if n == 1:
        return OverRuns(mean, math.nan, math.nan, n)
    half = t_quantile(n - 1) * statistics.stdev(values) / math.sqrt(n)
    return OverRuns(mean, mean - half, mean + half, n)


def t_quantile(freedoms: int) -> float:
    """The upper quantile of Student's t for `CONFIDENCE`, to 1e-9, for any number of freedoms."""
    low, high = 0.0, 1e6
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (low, middle) if _inside(middle, freedoms) > CONFIDENCE else (middle, high)
    return high


def _inside(t: float, freedoms: int) -> float:
    """The probability of |T| <= t (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedoms))
    odd = freedoms % 2
    term, total = (math.cos(angle) if odd else 1.0), 0.0
    for number in range(1 + odd, freedoms, 2):
        total += term
        term *= math.cos(angle) ** 2 * number / (number + 1)
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total
