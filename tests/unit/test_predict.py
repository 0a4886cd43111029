"""Predictions of files that are stored at another size than stated, and what is timed."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.logs import logged
from yolox.backends import Backend, ModelInfo
from yolox.config import AugmentSpec, EvalSpec
from yolox.data.batch import Place, TrainSamples
from yolox.data.cache import ResizedImages
from yolox.data.dataset import DetectionDataset, size_warning
from yolox.errors import DataError
from yolox.eval.coco_ap import coco_metrics, ground_truth, to_coco
from yolox.eval.evaluate import evaluate, in_stated_pixels
from yolox.eval.predict import PredictOptions, place, predict, rectangular_batches, square_batches

BOX = [16.0, 12.0, 32.0, 24.0]  # x, y, width, height in the stated 64 x 48
OPTIONS = PredictOptions(EvalSpec(), progress=False)


class Fixed(Backend):
    """Finds one object, where the canvas has it when a file of 32 x 12 is scaled to 64 x 24."""

    name, precision, framework = "fixed", "fp32", "none"

    def __init__(self, names: tuple[str, ...] | None = None) -> None:
        self.info = ModelInfo(len(names or "1"), 32, names)
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.shapes.append(tuple(images.shape))
        row = torch.tensor([16 + 32 / 2, 6 + 12 / 2, 32, 12, 1.0, 1.0])
        return row.expand(len(images), 1, 6).clone()


@pytest.fixture
def stored_small(tmp_path: Path) -> DetectionDataset:
    """Three images stated as 64 x 48, stored as 32 x 12, with one box each."""
    (tmp_path / "val").mkdir()
    images, annotations = [], []
    for number in range(3):
        pixels = np.full((12, 32, 3), 40 * number, np.uint8)
        cv2.imwrite(str(tmp_path / "val" / f"{number}.png"), pixels)
        images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 48})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": BOX})
    categories = [{"id": 1, "name": "cat"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "val.json").write_text(json.dumps(content))
    return DetectionDataset(tmp_path, "val.json", "val")


@pytest.fixture
def said():
    with logged("WARNING") as lines:
        yield lines


def test_detections_are_in_the_pixels_of_the_annotation(stored_small, said):
    for _ in range(2):
        found = evaluate(Fixed(), stored_small, (64, 64), 2, OPTIONS)
        assert found is not None
        assert [entry["bbox"] for entry in found.results] == [BOX] * 3
        assert pytest.approx(1.0) == found.metrics.AP
    assert len(said) == 1
    assert "3 x size_mismatch, first: 0.png: 64 x 48 in the JSON, 32 x 12" in said[0]


def test_the_same_on_rectangles(stored_small):
    batches = rectangular_batches([(12, 32)] * 3, (64, 64), 8, 2)
    assert batches[0][0].canvas_hw == (24, 64)
    found = in_stated_pixels(predict(Fixed(), stored_small, batches, OPTIONS), stored_small)
    results = to_coco(found, [0, 1, 2], [1])
    assert [entry["bbox"] for entry in results] == [BOX] * 3
    assert pytest.approx(1.0) == coco_metrics(ground_truth(stored_small), results).AP


def test_training_is_told_at_its_start(stored_small, synthetic_dir):
    assert "3 of 3 images looked at: size_mismatch: 0.png" in str(size_warning(stored_small))
    assert "2 of 2 images looked at" in str(size_warning(stored_small, most=2))
    assert (
        size_warning(DetectionDataset(synthetic_dir, "instances_val2017.json", "val2017")) is None
    )


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_a_cache_scales_boxes_by_the_size_of_the_file(stored_small, cache):
    plain = ResizedImages(stored_small, (64, 64))
    for _ in range(2):  # the second one finds the file of the first
        cached = ResizedImages(stored_small, (64, 64), cache)
        for index in range(3):
            one, other = plain.sample(index), cached.sample(index)
            assert one.boxes_xyxy.tolist() == other.boxes_xyxy.tolist() == [[16, 6, 48, 18]]
            assert np.array_equal(one.image, other.image)
    samples = [
        TrainSamples(source, AugmentSpec(), 0)[Place(5, 1, True)] for source in (plain, cached)
    ]
    assert np.array_equal(samples[0][1], samples[1][1])


def test_a_damaged_index_of_a_cache_is_made_again(stored_small):
    ResizedImages(stored_small, (64, 64), "disk")
    index = next((stored_small.data_dir / ".cache").glob("*.json"))
    for content in ("", "[]", "{}", '{"key": 1}'):
        index.write_text(content)
        assert len(ResizedImages(stored_small, (64, 64), "disk").sample(0).boxes_xyxy) == 1


def test_a_file_that_vanishes_before_it_is_cached_is_named(stored_small):
    stored_small.images[1].path.unlink()
    with pytest.raises(DataError, match=r"1\.png: cannot be read"):
        ResizedImages(stored_small, (64, 64), "disk")


def test_another_order_of_classes_is_not_evaluated(synthetic_dir):
    dataset = DetectionDataset(synthetic_dir, "instances_val2017.json", "val2017")
    backend = Fixed(dataset.class_names[::-1])
    with pytest.raises(DataError, match="another order"):
        evaluate(backend, dataset, (64, 64), 2, OPTIONS)
    assert not backend.shapes


class Slow(Fixed):
    """The first call with a shape takes long, as where kernels are compiled."""

    def __call__(self, images: Tensor) -> Tensor:
        import time

        if tuple(images.shape) not in self.shapes:
            time.sleep(0.2)
        return super().__call__(images)


def test_the_first_batch_of_a_shape_is_not_timed(stored_small):
    batches = [*square_batches(3, (64, 64), 1), *square_batches(3, (32, 32), 1)]
    made = predict(Slow(), stored_small, batches, OPTIONS)
    assert made.timing.warm_up >= 0.4
    assert made.timing.per_image_ms()["forward"] < 100
    assert (made.timing.images, made.timing.timed) == (6, 4)


def test_a_single_batch_is_run_again_to_be_timed(stored_small):
    backend = Slow()
    made = predict(backend, stored_small, square_batches(3, (64, 64), 4), OPTIONS)
    assert backend.shapes == [(3, 3, 64, 64)] * 2
    assert 0 < made.timing.per_image_ms()["forward"] < 60
    assert len(made.found) == 3


def test_a_canvas_smaller_than_the_image_is_no_error():
    """The header stated another size than the decoder found."""
    canvas, ratio = place(np.full((48, 64, 3), 7, np.uint8), (64, 48), (64, 64))
    assert canvas.shape == (64, 48, 3)
    assert ratio == 0.75
