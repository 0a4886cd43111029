"""Matches against COCO's own AP, and intervals: what they cover, and what pairs cancel."""

from dataclasses import replace

import numpy as np
import pytest

from yolox.cli.eval import main
from yolox.errors import UsageError
from yolox.eval.coco_ap import coco_metrics
from yolox.eval.intervals import (
    Estimate,
    Interval,
    _influence,
    _quantile,
    ap_interval,
    paired_difference,
)
from yolox.eval.matches import Ranked, assemble, class_ap, match
from yolox.eval.tables import interval_lines


def scene(seed, images=30, classes=5, digits=2):
    """Random boxes, some of them crowds, detections around them, and 150 of one class in one image.

    The last class has no box. Scores of two digits have ties.
    """
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image in range(1, images + 1):
        for _ in range(rng.integers(0, 6)):
            box = np.concatenate([rng.uniform(0, 300, 2), rng.uniform(10, 150, 2)])
            label = int(rng.integers(1, classes))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": label,
                    "bbox": box.tolist(),
                    "area": float(box[2] * box[3]),
                    "iscrowd": int(rng.random() < 0.15),
                }
            )
            for _ in range(3):
                moved = np.maximum(box + rng.normal(0, 0.12, 4) * box[[2, 3, 2, 3]], 1)
                wrong = rng.random() < 0.2
                results.append(
                    {
                        "image_id": image,
                        "bbox": moved.tolist(),
                        "score": round(rng.random(), digits),
                        "category_id": int(rng.integers(1, classes + 1)) if wrong else label,
                    }
                )
    first = annotations[0]
    for _ in range(150):
        moved = np.maximum(np.array(first["bbox"]) + rng.normal(0, 20, 4), 1).tolist()
        results.append(
            {
                "image_id": first["image_id"],
                "category_id": first["category_id"],
                "bbox": moved,
                "score": round(rng.random(), digits),
            }
        )
    truth = {
        "images": [{"id": i, "width": 640, "height": 640} for i in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": c, "name": f"class {c}"} for c in range(1, classes + 1)],
    }
    return truth, results


def check_exact(truth, results, engine):
    matches = match(truth, results, engine)
    found = class_ap(matches, np.ones((1, matches.images)))[0]
    wanted = coco_metrics(truth, results, engine)
    assert found.mean() == pytest.approx(wanted.AP, abs=1e-9)
    assert {name for name, c in wanted.per_class.items() if c.AP == c.AP} == set(matches.names)
    for name, value in zip(matches.names, found, strict=True):
        assert value == pytest.approx(wanted.per_class[name].AP, abs=1e-9), name


@pytest.mark.parametrize("engine", ["hotcoco", "pycocotools"])
@pytest.mark.parametrize("seed", range(3))
def test_weights_of_one_give_coco_ap(seed, engine):
    check_exact(*scene(seed), engine)


@pytest.mark.parametrize("seed", range(3))
def test_weights_stand_for_copies_of_an_image(seed):
    truth, results = scene(seed, images=12, digits=9)
    weights = np.random.default_rng(seed).integers(0, 3, 12)
    images, annotations, entries = [], [], []
    for image, copies in zip(truth["images"], weights.tolist(), strict=True):
        for _ in range(copies):
            new = {"image_id": len(images) + 1}
            images.append({**image, "id": new["image_id"]})
            for source in truth["annotations"]:
                if source["image_id"] == image["id"]:
                    annotations.append({**source, **new, "id": len(annotations) + 1})
            entries += [{**e, **new} for e in results if e["image_id"] == image["id"]]
    copied = coco_metrics({**truth, "images": images, "annotations": annotations}, entries)
    found = class_ap(match(truth, results), weights[None])[0]
    assert np.nanmean(found) == pytest.approx(copied.AP, abs=1e-9)


class World:
    """Images of uneven difficulty, 20 classes of uneven frequency, and a poor detector."""

    CLASSES = 20
    THRESHOLDS = np.linspace(0.5, 0.95, 10)[:, None]

    def __init__(self, rng, images):
        self.images = images
        self.difficulty = rng.normal(size=images)
        share = 1 / np.arange(1, self.CLASSES + 1) ** 0.8
        self.image = np.repeat(np.arange(images), rng.poisson(2.0, images))
        self.label = rng.choice(self.CLASSES, size=len(self.image), p=share / share.sum())
        self.boxes = np.zeros((images, self.CLASSES))
        np.add.at(self.boxes, (self.image, self.label), 1)
        self.ease = rng.normal(size=len(self.image))

    def detect(self, rng, skill):
        """Matches of a detector. Easy objects and images are easy for every skill."""
        quality = skill - 0.8 * self.difficulty[self.image] + 0.6 * self.ease
        quality = quality + 0.4 * rng.normal(size=len(quality))
        background = np.repeat(np.arange(self.images), rng.poisson(6, self.images))
        image = np.concatenate([self.image, background])
        label = np.concatenate([self.label, rng.integers(0, self.CLASSES, len(background))])
        noise = rng.normal(size=len(image))
        score = noise + np.concatenate([1.5 * quality, np.full(len(background), -1.5)])
        overlap = np.concatenate([1 / (1 + np.exp(-quality - 0.8)), np.zeros(len(background))])
        order = np.lexsort((-score, label))
        image, label, overlap = image[order], label[order], overlap[order]
        present = np.flatnonzero(self.boxes.any(axis=0))
        parts = []
        for number in present:
            hit = overlap[label == number] >= self.THRESHOLDS
            parts.append(Ranked(image[label == number], hit, np.zeros_like(hit)))
        names = tuple(str(number) for number in present)
        return assemble(names, self.boxes[:, present], parts)


def observed(matches):
    return float(class_ap(matches, np.ones((1, matches.images))).mean())


def test_the_interval_covers_the_ap_of_many_images():
    truth = observed(World(np.random.default_rng(0), 20_000).detect(np.random.default_rng(1), -1))
    rng = np.random.default_rng(2)
    below = above = 0
    values, corrected = [], []
    for _ in range(100):
        found = ap_interval(World(rng, 100).detect(rng, -1), subsets=60)
        above += truth < found.interval.low
        below += truth > found.interval.high
        values.append(found.value)
        corrected.append(found.corrected)
    assert np.mean(values) - truth > 0.015, "AP of few images is too high"
    assert abs(np.mean(corrected) - truth) < 0.4 * (np.mean(values) - truth)
    assert above <= 6, "the percentile bootstrap misses this way 19 times of 100"
    assert below <= 6
    assert above + below <= 10


def test_the_interval_is_no_wider_than_it_must_be():
    rng = np.random.default_rng(3)
    sets = [World(rng, 100).detect(rng, -1) for _ in range(40)]
    spread = np.std([observed(matches) for matches in sets])
    widths = [np.ptp(ap_interval(matches, subsets=60).interval) for matches in sets]
    assert np.mean(widths) < 1.8 * 2 * 1.96 * spread


def test_equal_models_do_not_differ():
    rng = np.random.default_rng(4)
    matches = World(rng, 60).detect(rng, 0)
    found = paired_difference(matches, matches)
    assert (found.value, found.corrected, found.interval) == (0, 0, (0, 0))


def test_pairing_takes_out_what_the_images_do_to_both():
    rng = np.random.default_rng(5)
    world = World(rng, 150)
    better, worse = world.detect(rng, 0.5), world.detect(rng, 0.0)
    found = paired_difference(better, worse)
    assert found.value == pytest.approx(observed(worse) - observed(better))
    assert found.interval.high < 0
    apart = np.hypot(*(np.ptp(ap_interval(matches).interval) for matches in (better, worse)))
    assert np.ptp(found.interval) < 0.8 * apart


def test_a_difference_needs_the_same_boxes():
    rng = np.random.default_rng(6)
    one, other = (World(rng, 20).detect(rng, 0) for _ in range(2))
    renamed = replace(one, names=tuple(f"{name}s" for name in one.names))
    moved = replace(one, boxes=one.boxes[::-1])
    for different in (other, renamed, moved):
        with pytest.raises(ValueError, match="the same images and boxes"):
            paired_difference(one, different)


def test_few_images_per_class_are_said():
    rng = np.random.default_rng(7)
    few, many = (World(rng, images).detect(rng, 0) for images in (10, 400))
    assert "in fewer than 5 images" in ap_interval(few).warning
    assert ap_interval(many).warning is None


def test_where_nothing_is_known_the_interval_says_so():
    perfect = np.ones((10, 1), bool)
    part = Ranked(np.array([0]), perfect, ~perfect)
    alone = assemble(("thing",), np.ones((1, 1)), [part])
    assert ap_interval(alone).interval == (0, 1)
    same = Ranked(np.arange(4), np.ones((10, 4), bool), np.zeros((10, 4), bool))
    certain = ap_interval(assemble(("thing",), np.ones((4, 1)), [same]))
    assert certain.interval == (1, 1)
    assert "nothing is known about AP's spread" in certain.warning
    assert paired_difference(alone, alone).interval == (-1, 1)
    empty = assemble((), np.zeros((5, 0)), [])
    assert ap_interval(empty).as_json()["AP_interval"] == [None, None]


def test_images_are_left_out_in_groups_where_there_are_many(monkeypatch):
    rng = np.random.default_rng(8)
    matches = World(rng, 300).detect(rng, 0.5)
    exact = np.ptp(ap_interval(matches).interval)
    monkeypatch.setattr("yolox.eval.intervals.GROUPS", 100)
    assert np.ptp(ap_interval(matches).interval) == pytest.approx(exact, rel=0.25)


def test_a_few_images_that_decide_are_said():
    boxes = np.ones((40, 1))
    boxes[0] = 30
    part = Ranked(np.zeros(30, np.int64), np.ones((10, 30), bool), np.zeros((10, 30), bool))
    assert "a few images decide" in ap_interval(assemble(("thing",), boxes, [part])).warning


def test_the_line_names_what_is_covered_and_warns():
    estimate = Estimate(0.34, 0.29, Interval(0.22, 0.355), 73, "47 of 73 classes are rare")
    text = interval_lines(estimate, images=128)
    assert "0.2200 to 0.3550, around 0.2900" in text
    assert "any number of such images and these 73 classes" in text
    assert "other training runs are not covered" in text
    assert text.endswith("warning: 47 of 73 classes are rare")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--resamples", "0"], "--resamples: 0 is less than 1"),
        (["--interval", "--test", "--results", "x.json"], "--interval needs boxes"),
    ],
)
def test_flags_that_make_no_sense_end_in_one_line(flags, message):
    with pytest.raises(UsageError, match=message):
        main(["-n", "yolox-nano", *flags])


def test_two_images_with_a_class_each_have_an_interval():
    hit = np.arange(10)[:, None] < 4  # right up to an IoU of 0.65
    parts = [
        Ranked(np.array([0]), np.ones((10, 1), bool), np.zeros((10, 1), bool)),
        Ranked(np.array([1]), hit, np.zeros((10, 1), bool)),
    ]
    found = ap_interval(assemble(("one", "other"), np.eye(2), parts))
    assert found.value == found.corrected == pytest.approx(0.7)  # no class can be in fewer images
    assert "one image" not in found.warning
    assert found.interval.low < 0.7 <= found.interval.high


def test_the_spread_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(9).normal(size=12)

    def mean(weights):
        return (weights @ values / weights.sum(axis=1))[:, None]

    whole = mean(np.ones((1, 12)))[0]
    parts = _influence(mean, 12, whole, np.random.default_rng(0))
    assert np.sqrt((parts**2).sum()) == pytest.approx(values.std(ddof=1) / np.sqrt(12))


@pytest.mark.parametrize(("freedoms", "wanted"), [(10, 2.228), (20, 2.086), (60, 2.000)])
def test_quantiles_are_those_of_tables(freedoms, wanted):
    assert _quantile(freedoms) == pytest.approx(wanted, abs=0.004)
