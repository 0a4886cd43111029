"""Metrics against the reference's own summary: nothing is shared but the annotation file."""

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yolox.data.dataset import DetectionDataset
from yolox.eval.coco_ap import ENGINES, coco_metrics, ground_truth, silent_classes

SIDES = (20.0, 60.0, 150.0)  # small, medium and large boxes
CATEGORIES = {3: "cat", 7: "dog", 11: "emu", 90: "fox"}
#: How far boxes are off, as a share of their side, and the share of boxes that is found.
QUALITY = {3: (0.02, 0.95), 7: (0.12, 0.7), 11: (0.25, 0.5)}


def scene(seed):
    """An annotation file's content with crowds, areas that are not width times height, more than
    ten objects of one class in an image, and detections of three qualities.
    """
    rng = np.random.default_rng(seed)
    images = [{"id": i, "width": 900, "height": 900, "file_name": f"{i}.jpg"} for i in (4, 8, 2, 6)]
    boxes, results = [], []
    for image in images:
        for number in range(54):
            category = [3, 7, 11][number % 3]
            side = SIDES[(number // 3) % 3] * rng.uniform(0.8, 1.2)
            box = [*rng.uniform(0, 700, 2).tolist(), side, side * rng.uniform(0.7, 1.3)]
            entry = {
                "id": len(boxes) + 1,
                "image_id": image["id"],
                "category_id": category,
                "bbox": box,
                "iscrowd": int(number % 11 == 5),
            }
            if number % 4 < 2:
                entry["area"] = box[2] * box[3] * float(rng.uniform(0.3, 0.9))
            boxes.append(entry)
            error, share = QUALITY[category]
            if rng.random() < share:
                moved = np.array(box) + side * error * rng.normal(0, 1, 4)
                results.append(_result(image, category, moved, rng.random()))
        for category in (3, 7, 11):  # false alarms
            wrong = [*rng.uniform(0, 700, 2), *rng.choice(SIDES, 2)]
            results.append(_result(image, category, wrong, rng.random()))
    names = [{"id": i, "name": name} for i, name in CATEGORIES.items()]
    return {"images": images, "annotations": boxes, "categories": names[::-1]}, results


def _result(image, category, box, score):
    box = [float(value) for value in np.maximum(box, 1)]
    return {"image_id": image["id"], "category_id": category, "bbox": box, "score": float(score)}


def reference(path, results, category=None):
    """pycocotools' table: AP, AP50, AP75, AP by size, AR1, AR10, AR100, AR by size."""
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(str(path))
        for annotation in known.dataset["annotations"]:
            annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
        evaluation = COCOeval(known, known.loadRes(results), "bbox")
        if category is not None:
            evaluation.params.catIds = [category]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("engine", ENGINES)
def test_metrics_are_those_of_the_reference(tmp_path, engine):
    content, results = scene(5)
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    dataset = DetectionDataset(tmp_path, "instances.json", "images", strict=False)
    found = coco_metrics(ground_truth(dataset), results, engine)
    stats = reference(path, results)
    keys = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
    expected = {**dict(zip(keys, stats, strict=False)), "AR100": stats[8]}
    assert len({round(value, 3) for value in [*expected.values(), stats[6], stats[7]]}) == 9
    for key, value in expected.items():
        assert getattr(found, key) == pytest.approx(value, abs=1e-6), key
    assert found.images == 4
    assert list(found.per_class) == ["cat", "dog", "emu", "fox"]
    crowds = [a["category_id"] for a in content["annotations"] if a["iscrowd"]]
    for category, name in list(CATEGORIES.items())[:3]:
        row, wanted = found.per_class[name], reference(path, results, category)
        assert pytest.approx([wanted[0], wanted[1], wanted[8]]) == [row.AP, row.AP50, row.AR100]
        assert row.boxes == 72 - crowds.count(category)
        assert row.detections == sum(r["category_id"] == category for r in results)
    assert len({round(row.AP, 2) for row in list(found.per_class.values())[:3]}) == 3
    fox = found.per_class["fox"]
    assert (np.isnan(fox.AP), fox.boxes, fox.detections) == (True, 0, 0)


def test_classes_with_boxes_and_no_detection_are_silent():
    content, results = scene(0)
    truth = {**content, "annotations": [{"area": 400.0, **a} for a in content["annotations"]]}
    few = [entry for entry in results if entry["category_id"] != 7]
    assert silent_classes(coco_metrics(truth, few)) == ["dog"]
    assert silent_classes(coco_metrics(truth, results)) == []


@pytest.mark.parametrize("ids", [["a", "b", "c", "d"], [2, "b", 4, "x"]])
def test_image_ids_may_be_text(ids):
    content, results = scene(0)
    named = dict(zip([image["id"] for image in content["images"]], ids, strict=True))
    filled = [{"area": 400.0, **a} for a in content["annotations"]]

    def renamed(entries, key):
        return [{**entry, key: named[entry[key]]} for entry in entries]

    text = {
        **content,
        "images": renamed(content["images"], "id"),
        "annotations": renamed(filled, "image_id"),
    }
    wanted = coco_metrics({**content, "annotations": filled}, results)
    assert pytest.approx(wanted.AP) == coco_metrics(text, renamed(results, "image_id")).AP
