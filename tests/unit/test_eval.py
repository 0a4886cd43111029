"""Metrics, batches of rectangles, and the result that programs read."""

import numpy as np
import pytest
import torch

from yolox.data.dataset import DetectionDataset
from yolox.errors import UsageError
from yolox.eval.coco_ap import coco_metrics, ground_truth, silent_classes, to_coco
from yolox.eval.latency import latency_ms
from yolox.eval.predict import Detections, place, rectangular_batches, square_batches
from yolox.eval.tables import class_table, metrics_table


@pytest.fixture
def truth(synthetic_dir):
    return ground_truth(DetectionDataset(synthetic_dir, "instances_val2017.json", "val2017"))


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


@pytest.mark.parametrize(
    ("size", "fit", "canvas", "scale"),
    [
        ((480, 640), (416, 416), (320, 416), 0.65),
        ((100, 200), (400, 400), (224, 416), 2.0),  # a canvas of multiples is larger than asked
        ((100, 200), (400, 400), (416, 416), 2.0),  # and larger still beside other images
    ],
)
def test_an_image_on_a_rectangle_has_the_scale_of_the_square(size, fit, canvas, scale):
    image = np.random.default_rng(0).integers(0, 100, (*size, 3), np.uint8)
    square, ratio = place(image, fit, fit)
    rectangle, same = place(image, canvas, fit)
    assert ratio == same == scale
    height, width = round(size[0] * scale), round(size[1] * scale)
    assert rectangle.shape == (*canvas, 3)
    assert np.array_equal(square[:height, :width], rectangle[:height, :width])
    assert (rectangle[height:] == 114).all()
    assert (rectangle[:, width:] == 114).all()


def test_latency_is_the_median_of_each_model_after_warm_up(monkeypatch):
    """Of a clock that models move on; the first calls are slow, and one later on."""
    now = [0.0]
    calls = {"a": 0, "b": 0}

    def model(name, seconds):
        def run(images):
            calls[name] += 1
            slow = calls[name] <= 3 or calls[name] == 5
            now[0] += 60.0 if slow else seconds

        return run

    monkeypatch.setattr("yolox.eval.latency.time.perf_counter", lambda: now[0])
    found = latency_ms({"a": model("a", 0.002), "b": model("b", 0.5)}, torch.zeros(1), rounds=5)
    assert found == pytest.approx({"a": 2.0, "b": 500.0})
    assert calls == {"a": 8, "b": 8}
