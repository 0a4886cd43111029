"""Times, inputs and tables of an evaluation, in numbers."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from yolox.backends import ModelInfo
from yolox.config import EvalSpec
from yolox.eval.coco_ap import ClassMetrics, CocoMetrics
from yolox.eval.evaluate import merged_timing, without_nan
from yolox.eval.predict import (
    PredictOptions,
    Timing,
    detect,
    legacy_input,
    predict,
    rectangular_batches,
    square_batches,
    to_detections,
)
from yolox.eval.tables import class_table, latency_line, metrics_table


def test_times_are_those_of_an_image_without_the_warm_up():
    timing = Timing(2.0, 3.0, 1.0, warm_up=50.0, images=8, timed=4)
    assert timing.per_image_ms() == {
        "preprocess": 250.0,
        "forward": 750.0,
        "postprocess": 250.0,
        "total": 1250.0,
    }
    assert set(Timing().per_image_ms().values()) == {0.0}


def test_times_of_processes_add_up():
    parts = [Timing(1, 2, 3, 4, 5, 6), Timing(10, 20, 30, 40, 50, 60)]
    assert merged_timing(parts) == Timing(11, 22, 33, 44, 55, 66)


class Images:
    """Grey images of the sizes given, each of its number's brightness."""

    def __init__(self, sizes_hw):
        self.sizes_hw = sizes_hw

    def __len__(self):
        return len(self.sizes_hw)

    def read_image(self, index):
        return np.full((*self.sizes_hw[index], 3), 10 + index, np.uint8)


class Clocked:
    """A backend that finds one box as large as the picture says, and takes a second for a batch."""

    info = ModelInfo(1, 32)

    def __init__(self, now):
        self.now, self.seen = now, []

    def __call__(self, images):
        self.seen.append(images)
        self.now[0] += 1.0
        rows = torch.zeros(len(images), 2, 6)
        for row, image in zip(rows, images, strict=True):
            row[0] = torch.tensor([8.0, 6.0, 8.0, 4.0, 0.9, 0.5])
            row[0, 2] = float(image[0, 0, 0])  # the width
        return rows


@pytest.fixture
def now(monkeypatch):
    """A clock that only backends move on."""
    seconds = [0.0]
    monkeypatch.setattr("yolox.eval.predict.time.perf_counter", lambda: seconds[0])
    return seconds


def test_every_image_has_its_own_detections_in_its_own_pixels(now):
    source = Images([(32, 32), (64, 64), (16, 32)])
    backend = Clocked(now)
    options = PredictOptions(EvalSpec(conf=0.3), progress=False)
    made = predict(backend, source, square_batches(3, (32, 32), 2), options)
    assert {index: len(found.scores) for index, found in made.found.items()} == {0: 1, 1: 1, 2: 1}
    assert made.sizes_hw == {0: (32, 32), 1: (64, 64), 2: (16, 32)}
    for index, ratio in enumerate((1.0, 0.5, 1.0)):
        width = 10 + index
        x1, x2 = (8 - width / 2) / ratio, (8 + width / 2) / ratio
        assert made.found[index].boxes_xyxy[0].tolist() == pytest.approx(
            [x1, 4 / ratio, x2, 8 / ratio]
        )
        assert float(made.found[index].scores[0]) == pytest.approx(0.45)
        assert int(made.found[index].labels[0]) == 0
    assert [len(images) for images in backend.seen] == [2, 1, 1]  # the last again, warm
    assert (made.timing.images, made.timing.timed) == (3, 1)
    assert (made.timing.forward, made.timing.warm_up) == (1.0, 2.0)
    assert int(backend.seen[1][0, 0, -1, 0]) == 114  # below an image that is lower than its canvas


def test_the_second_batch_of_a_shape_is_timed(now):
    options = PredictOptions(EvalSpec(conf=0.3), progress=False)
    made = predict(Clocked(now), Images([(32, 32)] * 5), square_batches(5, (32, 32), 2), options)
    assert (made.timing.images, made.timing.timed) == (5, 2)
    assert (made.timing.forward, made.timing.warm_up) == (1.0, 2.0)  # batches of 2, 2 and 1


def test_legacy_models_get_normalised_rgb(now):
    images = torch.zeros(1, 3, 1, 1, dtype=torch.uint8)
    images[0, :, 0, 0] = torch.tensor([255, 51, 0], dtype=torch.uint8)  # blue, green, red
    wanted = [(0 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert legacy_input(images).flatten().tolist() == pytest.approx(wanted)
    backend = Clocked(now)
    for legacy in (False, True):
        options = PredictOptions(EvalSpec(), legacy=legacy, progress=False)
        predict(backend, Images([(32, 32)]), square_batches(1, (32, 32), 1), options)
        assert backend.seen[-1].is_floating_point() is legacy


def test_models_with_suppression_inside_give_rows_of_their_own():
    rows = torch.tensor([[[1.0, 2, 3, 4, 0.5, 0]]])
    inside = SimpleNamespace(info=SimpleNamespace(output="detections"))
    (found,) = detect(rows, inside, EvalSpec(conf=0.3))
    assert to_detections(found, 0.5).boxes_xyxy.tolist() == [[2, 4, 6, 8]]
    assert float(to_detections(found, 0.5).scores) == 0.5


def test_square_batches_hold_every_image_once():
    batches = square_batches(7, (32, 64), 3)
    assert [[request.image for request in batch] for batch in batches] == [
        [0, 1, 2],
        [3, 4, 5],
        [6],
    ]
    assert {(r.canvas_hw, r.fit_hw) for batch in batches for r in batch} == {((32, 64), (32, 64))}
    assert [r.image for r in square_batches(7, (32, 64), 9, (1, 3))[0]] == [1, 4]


def test_rectangles_go_by_aspect_and_hold_their_images():
    sizes = [(100, 50), (50, 100), (100, 100), (40, 100)]
    batches = rectangular_batches(sizes, (64, 64), 32, 2)
    assert [[r.image for r in batch] for batch in batches] == [[3, 1], [2, 0]]
    assert [batch[0].canvas_hw for batch in batches] == [(32, 64), (64, 64)]
    tall = rectangular_batches([(100, 45)], (64, 64), 32, 2)
    assert tall[0][0].canvas_hw == (64, 32)
    assert tall[0][0].fit_hw == (64, 64)


def test_values_that_are_not_defined_are_null():
    nan = math.nan
    found = without_nan({"a": nan, "b": 1.5, "c": {"d": nan, "e": "nan"}, "f": 3})
    assert found == {"a": None, "b": 1.5, "c": {"d": None, "e": "nan"}, "f": 3}


def test_tables_show_what_is_there():
    classes = {
        "cat": ClassMetrics(0.5, 0.75, 0.6, 4, 9),
        "dog": ClassMetrics(0.0, 0.0, 0.0, 2, 0),
        "emu": ClassMetrics(math.nan, math.nan, math.nan, 0, 3),
        "fox": ClassMetrics(math.nan, math.nan, math.nan, 0, 0),
    }
    metrics = CocoMetrics(0.25, 0.5, 0.2, math.nan, 0.1, 0.3, 0.35, classes, 7)
    cells = metrics_table(metrics).splitlines()[-1].strip("|").split("|")
    assert [cell.strip() for cell in cells] == [
        "0.2500",
        "0.5000",
        "0.2000",
        "-",
        "0.1000",
        "0.3000",
        "0.3500",
    ]
    header, _, *rows, warning = class_table(metrics).splitlines()
    assert next(cell.strip() for cell in header.strip("|").split("|")) == "class"
    assert [row.strip("|").split("|")[0].strip() for row in rows] == ["cat", "dog", "emu"]
    assert [cell.strip() for cell in rows[2].strip("|").split("|")][1:] == ["-", "-", "-", "0", "3"]
    assert warning == "warning: boxes but not one detection: dog"
    del classes["dog"]
    assert "warning" not in class_table(metrics)
    line = latency_line({"forward": 1.234, "total": 20.0}, 4, "cpu")
    assert line == "ms per image (batch 4, cpu): forward 1.23, total 20.00"
