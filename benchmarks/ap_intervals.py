"""How often 95 % intervals of AP cover the AP of infinitely many images, by method.

`python benchmarks/ap_intervals.py [--sets 150] [--only TEXT]`: simulated detections, so the true AP
is known (from 60,000 images). Every cell is "covered % (missed because too high / too low)".

`python benchmarks/ap_intervals.py --annotations FILE --results FILE`: AP and corrected AP of random
subsets of real images; results are those of `tools/eval.py --results`.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
from simulated_detections import Setting, World
from tabulate import tabulate

from yolox.eval.intervals import Estimate, Interval, ap_interval, paired_difference
from yolox.eval.matches import ImageMatches, class_ap, match

MANY_IMAGES = 60_000
REPLICATES = 200
STEP = -0.3  # skill of the second detector, against the first's
TAILS = [0.025, 0.975]
Z = NormalDist().inv_cdf(0.975)


SETTINGS = [
    *(Setting(1, 50, skill) for skill in (-1.0, 0.5, 1.8)),
    *(Setting(3, 50, skill) for skill in (-1.0, 0.5, 1.8)),
    *(Setting(8, 150, skill) for skill in (-1.0, 0.5, 1.8)),
    *(Setting(20, 100, skill) for skill in (-1.0, 0.5, 1.8)),
    *(Setting(20, 500, skill) for skill in (-1.0, 0.5)),
    *(Setting(80, 100, skill, clusters=2.0) for skill in (-1.0, 0.5, 1.8)),
    Setting(80, 500, -1.0, clusters=2.0),
    Setting(20, 100, -0.5, decay=1.5),
    Setting(20, 100, 0.0, false=15.0),
    Setting(20, 100, 0.5, clusters=2.0, difficulty=2.5),
]


class Sample:
    """One set of images: what the methods share, computed once. Works for a difference, too."""

    def __init__(self, statistic: Callable, images: int, rng: np.random.Generator):
        even = np.full(images, 1 / images)
        self.classes = statistic(np.ones((1, images)))[0]
        self.value = self.classes.mean()
        copies = statistic(rng.multinomial(images, even, REPLICATES))
        self.drawn = np.nanmean(copies, axis=1)
        weights = rng.dirichlet(np.ones(images), (3, REPLICATES)) * images
        self.smooth = statistic(weights[0]).mean(axis=1)
        self.twice = statistic(weights[1] * weights[2]).mean(axis=1)
        lost = np.nan_to_num(self.classes - statistic(1 - np.eye(images))).mean(axis=1)
        self.jackknife_bias = -(images - 1) * lost.mean()
        self.lost = lost - lost.mean()
        self.error = np.sqrt((images - 1) / images * (self.lost**2).sum())


def percentile(sample: Sample) -> Interval:
    """Quantiles of the resampled APs (Efron 1979): the method of version 1.0."""
    return Interval(*np.quantile(sample.drawn, TAILS))


def basic(sample: Sample) -> Interval:
    """The same distances, reflected at the observed AP."""
    low, high = 2 * sample.value - np.quantile(sample.drawn, TAILS[::-1])
    return Interval(low, high)


def bca(sample: Sample) -> Interval:
    """Bias-corrected and accelerated percentiles (Efron 1987)."""
    normal = NormalDist()
    below = np.clip((sample.drawn < sample.value).mean(), 1 / REPLICATES, 1 - 1 / REPLICATES)
    shift = normal.inv_cdf(float(below))
    cubes, squares = (sample.lost**3).sum(), (sample.lost**2).sum()
    rate = cubes / (6 * squares**1.5) if squares else 0.0
    shares = [normal.cdf(shift + (shift + side) / (1 - rate * (shift + side))) for side in (-Z, Z)]
    return Interval(*np.quantile(sample.drawn, shares))


def corrected_normal(sample: Sample) -> Interval:
    """Observed AP less the bootstrap's bias, and the bootstrap's standard error."""
    middle, reach = 2 * sample.value - sample.drawn.mean(), Z * sample.drawn.std(ddof=1)
    return Interval(middle - reach, middle + reach)


def bayesian(sample: Sample) -> Interval:
    """Quantiles under Dirichlet weights (Rubin 1981): no class vanishes."""
    return Interval(*np.quantile(sample.smooth, TAILS))


def double(sample: Sample) -> Interval:
    """Bias from two levels of Dirichlet weights, standard error of the jackknife."""
    middle = 3 * sample.value - 3 * sample.smooth.mean() + sample.twice.mean()
    return Interval(middle - Z * sample.error, middle + Z * sample.error)


def jackknife(sample: Sample) -> Interval:
    """Bias and standard error of the jackknife."""
    middle = sample.value - sample.jackknife_bias
    return Interval(middle - Z * sample.error, middle + Z * sample.error)


METHODS = [percentile, basic, bca, corrected_normal, bayesian, double, jackknife]


@dataclass
class Tally:
    """Intervals that held the truth, and those that missed it."""

    sets: int = 0
    too_high: int = 0
    too_low: int = 0
    width: float = 0.0

    def add(self, interval: Interval, truth: float) -> None:
        """Count one interval."""
        self.sets += 1
        self.too_high += bool(truth < interval.low)
        self.too_low += bool(truth > interval.high)
        self.width += interval.high - interval.low

    def text(self) -> str:
        """Covered %, and in brackets the misses."""
        high, low = (100 * count / self.sets for count in (self.too_high, self.too_low))
        return f"{100 - high - low:.0f} ({high:.0f}/{low:.0f})"


def class_truth(setting: Setting, skill: float) -> np.ndarray:
    """AP of each class on very many images."""
    rng = np.random.default_rng(999)
    world = World(setting, MANY_IMAGES, rng)
    found = np.full(setting.classes, np.nan)
    found[world.present] = class_ap(world.detect(skill, rng), np.ones((1, MANY_IMAGES)))[0]
    return found


def simulate(setting: Setting, sets: int, other: float | None = None) -> list[str]:
    """One row of the table. other: skill of a second detector, for the difference to it."""
    rng = np.random.default_rng(7)
    truth = class_truth(setting, setting.skill)
    if other is not None:
        truth = class_truth(setting, other) - truth
    tallies = {method.__name__: Tally() for method in METHODS} | {"ours": Tally()}
    apart = Tally()
    bias, guess, start = [], [], time.perf_counter()
    for _ in range(sets):
        world = World(setting, setting.images, rng)
        wanted = float(truth[world.present].mean())
        first = world.detect(setting.skill, rng)
        second = None if other is None else world.detect(other, rng)
        sample = Sample(_statistic(first, second), setting.images, rng)
        for method in METHODS:
            tallies[method.__name__].add(method(sample), wanted)
        estimate = _estimate(first, second)
        tallies["ours"].add(estimate.interval, wanted)
        bias.append(estimate.value - wanted)
        guess.append(estimate.corrected - wanted)
        if second is not None:
            apart.add(_unpaired(first, second), wanted)
    seconds = time.perf_counter() - start
    print(f"{setting.text()}, skill {setting.skill:g}: {seconds:.0f} s", flush=True)
    row = [setting.text(), f"{np.nanmean(truth):+.2f}", f"{np.mean(bias):+.3f}"]
    row += [f"{np.mean(guess):+.3f}", *(tally.text() for tally in tallies.values())]
    if other is not None:
        row += [apart.text(), f"{tallies['ours'].width / apart.width:.2f}"]
    return row


def _statistic(first: ImageMatches, second: ImageMatches | None) -> Callable:
    if second is None:
        return lambda weights: class_ap(first, weights)
    return lambda weights: class_ap(second, weights) - class_ap(first, weights)


def _estimate(first: ImageMatches, second: ImageMatches | None) -> Estimate:
    return ap_interval(first) if second is None else paired_difference(first, second)


def _unpaired(first: ImageMatches, second: ImageMatches) -> Interval:
    """As if the two had been measured on different images."""
    one, other = ap_interval(first), ap_interval(second)
    reach = np.hypot(*(np.ptp(estimate.interval) / 2 for estimate in (one, other)))
    middle = other.corrected - one.corrected
    return Interval(middle - reach, middle + reach)


def table(settings: list[Setting], sets: int, step: float | None) -> str:
    """All settings. step: the second detector has this much more skill; None: no second one."""
    rows = []
    for setting in settings:
        other = None if step is None else setting.skill + step
        rows.append(simulate(setting, sets, other))
    names = [method.__name__.replace("_", " ") for method in METHODS]
    head = ["setting", "true", "bias", "bias left", *names, "ours"]
    if step is not None:
        head += ["ours, not paired", "width, paired / not"]
    return tabulate(rows, headers=head, tablefmt="github", disable_numparse=True)


def real_subsets(annotations: Path, results: Path) -> str:
    """AP and corrected AP of all images, and their means over random halves and quarters."""
    truth, found = json.loads(annotations.read_text()), json.loads(results.read_text())
    ids = [image["id"] for image in truth["images"]]
    rng = np.random.default_rng(0)
    rows = []
    for parts in (1, 2, 4):
        estimates = []
        for _ in range(1 if parts == 1 else 8):
            for chosen in np.array_split(rng.permutation(ids), parts):
                some = set(chosen.tolist())
                content = {
                    "categories": truth["categories"],
                    "images": [image for image in truth["images"] if image["id"] in some],
                    "annotations": [a for a in truth["annotations"] if a["image_id"] in some],
                }
                entries = [entry for entry in found if entry["image_id"] in some]
                estimates.append(ap_interval(match(content, entries)))
        means = [np.mean([getattr(e, key) for e in estimates]) for key in ("value", "corrected")]
        rows.append([len(ids) // parts, *(f"{mean:.3f}" for mean in means)])
    return tabulate(rows, headers=["images", "AP", "corrected"], tablefmt="github")


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=150, help="simulated sets per setting")
    parser.add_argument("--only", default="", help="settings whose name holds this text")
    parser.add_argument("--annotations", type=Path, help="real images: COCO annotations")
    parser.add_argument("--results", type=Path, help="real images: detections (COCO results)")
    args = parser.parse_args()
    if args.annotations:
        print(real_subsets(args.annotations, args.results))
        return
    chosen = [setting for setting in SETTINGS if args.only in setting.text()]
    single = table(chosen, args.sets, None)
    pairs = table([s for s in chosen if s.images < 500 and s.skill < 1], args.sets, STEP)
    print(f"\nAP\n\n{single}\n\nDifference to a second detector\n\n{pairs}")


if __name__ == "__main__":
    main()
