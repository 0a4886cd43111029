"""The VOC protocol against its definition, written once more and slowly."""

import math

import numpy as np
import pytest

from yolox.data.formats.coco import as_coco
from yolox.data.formats.pictures import Pictures
from yolox.data.formats.table import FORMATS
from yolox.eval.coco_ap import coco_metrics
from yolox.eval.matches import class_ap, match
from yolox.eval.voc_ap import IOUS, voc_interval, voc_matches, voc_metrics


def overlap(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (a[2] * a[3] + b[2] * b[3] - width * height)


def slow_ap(truth, results, category, least, points):
    """One class at one IoU, as the devkit's text says, detection by detection."""
    objects = [a for a in truth["annotations"] if a["category_id"] == category]
    total = sum(not a["difficult"] and not a["iscrowd"] for a in objects)
    if not total:
        return None
    taken, right, wrong, curve = set(), 0, 0, []
    mine = [r for r in results if r["category_id"] == category]
    for result in sorted(mine, key=lambda r: -r["score"]):
        best, which = -1.0, None
        for place, a in enumerate(objects):
            if a["image_id"] == result["image_id"] and overlap(a["bbox"], result["bbox"]) > best:
                best, which = overlap(a["bbox"], result["bbox"]), place
        if which is not None and best >= least:
            if objects[which]["difficult"] or objects[which]["iscrowd"]:
                continue
            if which not in taken:
                taken.add(which)
                right += 1
            else:
                wrong += 1
        else:
            wrong += 1
        curve.append((right, right / (right + wrong)))
    if points == "11":
        return (
            sum(max((p for r, p in curve if 10 * r >= k * total), default=0.0) for k in range(11))
            / 11
        )
    area, before = 0.0, 0
    for place, (reached, _) in enumerate(curve):
        area += (reached - before) / total * max(p for _, p in curve[place:])
        before = reached
    return area


def case(rng, images=4, classes=3):
    """Boxes, some of them difficult, and detections near them and elsewhere, with equal scores."""

    def box():
        return [*rng.integers(0, 60, 2).tolist(), *rng.integers(5, 40, 2).tolist()]

    annotations, results = [], []
    for image in range(1, images + 1):
        for _ in range(rng.integers(0, 6)):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(rng.integers(1, classes + 1)),
                    "bbox": box(),
                    "area": 1.0,
                    "iscrowd": int(rng.random() < 0.05),
                    "difficult": int(rng.random() < 0.2),
                }
            )
        near = [a for a in annotations if a["image_id"] == image]
        for _ in range(rng.integers(0, 12)):
            source = near[rng.integers(len(near))] if near and rng.random() < 0.7 else None
            moved = box() if source is None else list(source["bbox"])
            if source is not None:
                moved = [v + float(rng.normal(0, 1.5)) for v in moved]
                moved[2:] = [max(v, 1.0) for v in moved[2:]]
            results.append(
                {
                    "image_id": image,
                    "category_id": source["category_id"]
                    if source
                    else int(rng.integers(1, classes + 1)),
                    "bbox": moved,
                    "score": float(rng.integers(1, 8)) / 8,
                }
            )
    return {
        "images": [{"id": image} for image in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": c, "name": f"c{c}"} for c in range(1, classes + 1)],
    }, results


@pytest.mark.parametrize("points", ["11", "all"])
def test_equal_to_the_definition_on_random_boxes(points):
    worst, compared = 0.0, 0
    for seed in range(200):
        truth, results = case(np.random.default_rng(seed))
        found = voc_metrics(voc_matches(truth, results), points)
        for category in truth["categories"]:
            expected = [slow_ap(truth, results, category["id"], t, points) for t in IOUS]
            if expected[0] is None:
                assert category["name"] not in found.per_class
                continue
            own = found.per_class[category["name"]]
            worst = max(worst, abs(own.AP - sum(expected) / 10), abs(own.AP50 - expected[0]))
            compared += 1
    assert compared > 500
    assert worst < 1e-9


def one_class(boxes, results, difficult=()):
    truth = {
        "images": [{"id": 1}, {"id": 2}],
        "categories": [{"id": 5, "name": "a"}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": 5, "bbox": b, "difficult": n in difficult}
            for n, b in enumerate(boxes)
        ],
    }
    entries = [{"image_id": i, "category_id": 5, "bbox": b, "score": s} for i, b, s in results]
    return truth, entries


def test_the_second_detection_of_an_object_is_false():
    box = [0, 0, 10, 10]
    truth, results = one_class([box, [50, 0, 10, 10]], [(1, box, 0.9), (1, box, 0.8)])
    assert voc_metrics(voc_matches(truth, results), "all").AP50 == 0.5
    results.append({**results[0], "bbox": [50, 0, 10, 10], "score": 0.7})
    assert pytest.approx(0.5 + 0.5 * 2 / 3) == voc_metrics(voc_matches(truth, results), "all").AP50


def test_difficult_objects_are_neither_found_nor_missed():
    box, other = [0, 0, 10, 10], [50, 0, 10, 10]
    truth, results = one_class([box, other], [(1, other, 0.9), (1, box, 0.8)], difficult={1})
    found = voc_metrics(voc_matches(truth, results), "all")
    assert (found.AP50, found.per_class["a"].boxes) == (1.0, 1)


def test_eleven_recalls_are_counted_exactly():
    boxes = [[20 * n, 0, 10, 10] for n in range(10)]
    truth, results = one_class(boxes, [(1, b, 0.9) for b in boxes[:3]])
    assert pytest.approx(4 / 11) == voc_metrics(voc_matches(truth, results), "11").AP50  # 0 to 0.3


def test_the_devkits_pixel_is_an_option():
    truth, results = one_class([[0, 0, 10, 10]], [(1, [0, 0, 10, 5.2], 0.9)])
    assert voc_metrics(voc_matches(truth, results), "all").AP50 == 1.0
    results[0]["bbox"] = [0, 0, 10, 4.9]
    assert voc_metrics(voc_matches(truth, results), "all").AP50 == 0.0
    assert voc_metrics(voc_matches(truth, results, pixel=1.0), "all").AP50 == 1.0  # 11 x 5.9


def test_no_objects_at_all():
    truth, results = one_class([], [(1, [0, 0, 1, 1], 0.5)])
    found = voc_metrics(voc_matches(truth, results))
    assert math.isnan(found.AP)
    assert found.per_class == {}


def test_an_interval_holds_the_corrected_value():
    truth, results = case(np.random.default_rng(3), images=40)
    estimate = voc_interval(voc_matches(truth, results), "11", 50)
    low, high = estimate.interval
    assert low < estimate.corrected < high
    assert estimate.value == pytest.approx(voc_metrics(voc_matches(truth, results), "11").AP)


def test_intervals_of_eleven_recalls_near_one_carry_a_warning():
    truth, _ = case(np.random.default_rng(3), images=40)
    results = [
        {**{key: a[key] for key in ("image_id", "category_id", "bbox")}, "score": 0.5}
        for a in truth["annotations"][2:]
    ]
    matches = voc_matches(truth, results)
    assert voc_metrics(matches, "11").AP > 0.75
    assert "near 1 lies too high" in voc_interval(matches, "11", 50).warning
    assert "near 1" not in (voc_interval(matches, "all", 50).warning or "")
    low = voc_interval(voc_matches(truth, results[::2]), "11", 50)
    assert low.value < 0.75
    assert "near 1" not in (low.warning or "")


def test_cocos_own_ap_stays_what_it_was():
    truth, results = case(np.random.default_rng(5), images=30)
    for image in truth["images"]:
        image |= {"width": 100, "height": 100}
    matches = match(truth, results)
    ours = class_ap(matches, np.ones((1, matches.images)))
    assert float(ours.mean()) == pytest.approx(coco_metrics(truth, results).AP, abs=1e-12)


@pytest.mark.samples
def test_real_detections_as_another_program_counts_them(samples_dir):
    """AP50 of the package mean-average-precision (2024.1.5.0), with exact recalls."""
    root = samples_dir / "voc100"
    source = root / "gts" / "coco_format_v1" / "instances_default.json"
    truth = as_coco(FORMATS["coco"].read(source, Pictures(root / "images"), None))
    image_of = {image["file_name"].removesuffix(".jpg"): image["id"] for image in truth["images"]}
    names = sorted(category["name"] for category in truth["categories"])
    category_of = {c["name"]: c["id"] for c in truth["categories"]}
    results = []
    for path in (root / "dets" / "abs_xyx2y2").iterdir():
        for line in path.read_text().splitlines():
            label, score, x1, y1, x2, y2 = map(float, line.split())
            results.append(
                {
                    "image_id": image_of[path.stem],
                    "category_id": category_of[names[int(label)]],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": score,
                }
            )
    matches = voc_matches(truth, results)
    assert pytest.approx(0.6041265, abs=1e-7) == voc_metrics(matches, "11").AP50
    assert pytest.approx(0.6109129, abs=1e-7) == voc_metrics(matches, "all").AP50
