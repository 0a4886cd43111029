"""Intervals of AP over images."""

import copy

from yolox.eval.bootstrap import ap_interval
from yolox.eval.coco_ap import coco_metrics


def scene(images, right):
    """One box in each image; the first `right` are found exactly."""
    box = [10.0, 10.0, 20.0, 20.0]
    truth = {
        "images": [{"id": i, "width": 64, "height": 64} for i in range(1, images + 1)],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": box, "area": 400.0, "iscrowd": 0}
            for i in range(1, images + 1)
        ],
    }
    found = [
        {"image_id": i, "category_id": 1, "bbox": box, "score": 0.9} for i in range(1, right + 1)
    ]
    return truth, found


def test_the_interval_holds_the_ap_and_shrinks_with_more_images():
    widths = []
    for images in (16, 64):
        truth, found = scene(images, images // 2)
        low, high = ap_interval(truth, found, 60)
        assert low < coco_metrics(truth, found).AP < high
        widths.append(high - low)
    assert widths[1] < 0.75 * widths[0]


def test_perfect_detections_have_no_spread_and_inputs_stay():
    truth, found = scene(8, 8)
    before = copy.deepcopy((truth, found))
    assert ap_interval(truth, found, 5) == (1.0, 1.0)
    assert (truth, found) == before
