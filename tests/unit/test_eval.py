"""Metrics, batches of rectangles, and the result that programs read."""

import math

import numpy as np
import pytest
import torch

from yolox.data.coco import CocoDataset
from yolox.errors import UsageError
from yolox.eval.coco_ap import coco_metrics, ground_truth, silent_classes, to_coco
from yolox.eval.latency import latency_ms
from yolox.eval.predict import Detections, place, rectangular_batches, square_batches
from yolox.eval.report import class_table, metrics_table


@pytest.fixture
def truth(synthetic_dir):
    return ground_truth(CocoDataset(synthetic_dir, "instances_val2017.json", "val2017"))


def _noisy_results(truth, seed=0):
    rng = np.random.default_rng(seed)
    results = []
    for annotation in truth["annotations"]:
        for _ in range(3):
            box = np.array(annotation["bbox"]) + rng.normal(0, 4, 4)
            results.append(
                {
                    "image_id": annotation["image_id"],
                    "category_id": annotation["category_id"],
                    "bbox": np.maximum(box, 1).tolist(),
                    "score": float(rng.random()),
                }
            )
    return results


@pytest.mark.parametrize("seed", range(3))
def test_engines_agree(truth, seed):
    results = _noisy_results(truth, seed)
    one, other = (coco_metrics(truth, results, engine) for engine in ("hotcoco", "pycocotools"))
    assert 0 < one.AP < 1
    for key in ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR100"):
        np.testing.assert_allclose(getattr(one, key), getattr(other, key), atol=1e-6)
    for name, row in one.per_class.items():
        np.testing.assert_allclose(row.AP, other.per_class[name].AP, atol=1e-6)


def test_perfect_detections(truth):
    results = [
        {**{k: a[k] for k in ("image_id", "category_id", "bbox")}, "score": 0.9}
        for a in truth["annotations"]
    ]
    metrics = coco_metrics(truth, results)
    assert pytest.approx(1.0) == metrics.AP
    assert not silent_classes(metrics)


@pytest.mark.parametrize("engine", ["hotcoco", "pycocotools"])
def test_no_detections_is_zero_not_an_error(truth, engine):
    metrics = coco_metrics(truth, [], engine)
    assert metrics.AP == 0.0
    assert "not one detection" in class_table(metrics)
    assert "0.0000" in metrics_table(metrics)


def test_unknown_engine(truth):
    with pytest.raises(UsageError, match="evaluation engine 'x'"):
        coco_metrics(truth, [], "x")


def test_results_have_original_ids_and_xywh():
    found = {1: Detections(torch.tensor([[1.0, 2, 5, 9]]), torch.tensor([0.5]), torch.tensor([1]))}
    assert to_coco(found, [10, 20], [3, 7]) == [
        {"image_id": 20, "category_id": 7, "bbox": [1, 2, 4, 7], "score": 0.5}
    ]


def test_square_batches_share_without_duplicates():
    shares = [square_batches(7, (64, 64), 2, (rank, 3)) for rank in range(3)]
    images = [request.image for share in shares for batch in share for request in batch]
    assert sorted(images) == list(range(7))


def test_rectangular_batches_are_tight_multiples():
    sizes = [(480, 640), (640, 480), (427, 640), (640, 640), (100, 50)]
    batches = rectangular_batches(sizes, (416, 416), 32, 2)
    assert sorted(r.image for batch in batches for r in batch) == list(range(5))
    for batch in batches:
        height, width = batch[0].canvas_hw
        assert height % 32 == width % 32 == 0
        assert all(r.canvas_hw == (height, width) for r in batch)
    wide = next(batch for batch in batches if any(r.image == 0 for r in batch))
    assert wide[0].canvas_hw == (320, 416)


def test_an_image_on_a_rectangle_has_the_scale_of_the_square():
    image = np.full((480, 640, 3), 7, np.uint8)
    square, ratio = place(image, (416, 416), (416, 416))
    rectangle, same = place(image, (320, 416), (416, 416))
    assert ratio == same
    assert np.array_equal(square[:312], rectangle[:312])
    assert (rectangle[312:] == 114).all()


def test_latency_is_measured_for_each_model():
    found = latency_ms({"a": lambda x: x, "b": lambda x: x + 1}, torch.zeros(1), rounds=3)
    assert set(found) == {"a", "b"}
    assert all(math.isfinite(value) and value >= 0 for value in found.values())
