"""Confusion, curves and the worst images, from a handful of boxes; the page they end in."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from yolox.data.dataset import DetectionDataset
from yolox.errors import DataError
from yolox.eval.coco_ap import coco_metrics, ground_truth
from yolox.eval.evaluate import Evaluation
from yolox.eval.report.curves import CONFIDENCES, best_confidence, score_curves
from yolox.eval.report.errors import find_errors
from yolox.eval.report.figures import MOST_CLASSES, confusion_figure, curves_figure
from yolox.eval.report.page import write_evaluation

BOX, OTHER, FAR = [0, 0, 10, 10], [40, 0, 10, 10], [80, 80, 9, 9]


def truth_of(*entries, classes=3):
    """entries: image, class, box, and whether it is difficult."""
    return {
        "images": [{"id": 1}, {"id": 2}],
        "categories": [{"id": c, "name": f"c{c}"} for c in range(1, classes + 1)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": b, "difficult": d, "iscrowd": 0}
            for n, (i, c, b, d) in enumerate(entries)
        ],
    }


def found(*entries):
    return [{"image_id": i, "category_id": c, "bbox": b, "score": s} for i, c, b, s in entries]


def test_the_matrix_counts_right_confused_missed_and_false():
    truth = truth_of((1, 1, BOX, 0), (1, 2, OTHER, 0), (2, 3, BOX, 0), (2, 3, FAR, 1))
    results = found(
        (1, 1, BOX, 0.9), (1, 1, OTHER, 0.8), (1, 2, FAR, 0.7), (2, 3, FAR, 0.6), (2, 3, BOX, 0.2)
    )
    errors = find_errors(truth, results)
    expected = np.zeros((4, 4), int)
    expected[0, 0] = expected[1, 0] = expected[3, 1] = expected[2, 3] = 1
    assert (errors.matrix == expected).all()
    first, second = errors.images
    assert (len(first.false), len(first.confused), len(first.missed)) == (1, 1, 0)
    assert (second.count, second.missed[0][1]) == (1, 2)
    assert [one.image for one in errors.worst(5)] == [0, 1]
    assert find_errors(truth, results, conf=0.1).images[1].count == 0


def test_an_object_of_the_own_class_comes_first():
    near = [1, 0, 10, 10]
    truth = truth_of((1, 1, BOX, 0), (1, 2, near, 0))
    errors = find_errors(truth, found((1, 1, near, 0.9), (1, 2, BOX, 0.8)))
    assert errors.matrix[0, 0] == errors.matrix[1, 1] == 1
    assert errors.matrix.sum() == 2


def test_curves_are_counts_over_the_confidence():
    truth = truth_of((1, 1, BOX, 0), (2, 1, BOX, 0), (2, 1, OTHER, 1))
    results = found((1, 1, BOX, 0.9), (2, 1, FAR, 0.6), (2, 1, OTHER, 0.7), (2, 1, BOX, 0.3))
    curve = score_curves(truth, results)["c1"]

    def at(confidence):
        place = int(np.argmin(abs(CONFIDENCES - confidence)))
        return curve.precision[place], curve.recall[place], curve.f1[place]

    assert at(0.95) == (1.0, 0.0, 0.0)
    assert at(0.9) == (1.0, 0.5, pytest.approx(2 / 3))
    assert at(0.5) == (0.5, 0.5, 0.5)  # the difficult one counts nowhere
    assert at(0.1) == (pytest.approx(2 / 3), 1.0, pytest.approx(0.8))
    assert best_confidence({"c1": curve}) == (0.0, pytest.approx(0.8))


def test_many_classes_are_cut_to_the_most_frequent():
    entries = [(1, c, BOX, 0) for c in range(1, 81)] + [(2, 80, OTHER, 0)]
    truth = truth_of(*entries, classes=80)
    axes = confusion_figure(find_errors(truth, [])).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert len(names) == MOST_CLASSES + 1
    assert "c80" in names
    assert names[-1] == "(nothing)"
    assert len(curves_figure(score_curves(truth, [])).axes[0].lines) == 80


@pytest.fixture
def evaluated(synthetic_dir):
    """The validation images with every second object found, the first in the wrong class."""
    dataset = DetectionDataset(synthetic_dir, "instances_val2017.json", "val2017")
    truth = ground_truth(dataset)
    results = [
        {**{k: a[k] for k in ("image_id", "category_id", "bbox")}, "score": 0.9}
        for a in truth["annotations"][::2]
    ]
    results[0]["category_id"] = truth["categories"][-1]["id"]
    metrics = coco_metrics(truth, results)
    assert not math.isnan(metrics.AP)
    return dataset, Evaluation(metrics, {}, results, truth)


def test_the_page_needs_nothing_else(evaluated, tmp_path):
    page = write_evaluation(tmp_path / "pictures", "a <title>", *evaluated)
    text = page.read_text()
    assert "a &lt;title&gt;" in text
    assert "0 detections belong to none" in " ".join(text.split())
    assert "http" not in text.replace("data:image/png", "")
    names = sorted(path.name for path in page.parent.iterdir())
    assert names[:3] == ["confusion.png", "curves.png", "evaluation.html"]
    assert text.count("data:image/png;base64,") == 2 + len(names[3:]) > 3
    picture = cv2.imread(str(page.parent / "worst_01.png"))
    assert picture.shape[1] > picture.shape[0]  # two side by side


def test_nothing_to_draw_is_said(evaluated, tmp_path):
    dataset, found_ones = evaluated
    empty = dataset.subset([])
    nothing = replace(found_ones, truth=ground_truth(empty))
    with pytest.raises(DataError, match="no object to draw curves of"):
        write_evaluation(tmp_path, "x", empty, nothing)
