"""Augmentations of official YOLOX 0.3.0 with forced draws. Pixels may differ by one."""

import cv2
import numpy as np
import pytest

from tests.golden.reference import load_arrays
from yolox.config import AugmentSpec
from yolox.data.augment import (
    AffineDraw,
    affine_matrix,
    finish_training_sample,
    letterbox,
    resize_to_fit,
    shift_hsv,
    warp,
)
from yolox.data.mosaic import MixupDraw, mixup, mosaic
from yolox.data.sample import Sample


@pytest.fixture(scope="module")
def stored():
    return load_arrays("augment")


def _image(height, width, seed):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


def _sample(image, rows):
    rows = np.asarray(rows, np.float64).reshape(-1, 5)
    return Sample(image, rows[:, :4].astype(np.float32), rows[:, 4].astype(np.int64))


def _tile(number):
    height, width = [(48, 96), (64, 40), (30, 30), (64, 96)][number]
    boxes = [
        [1, 2, width - 3, height - 4, number],
        [0.4 * width, 0.3 * height, 0.8 * width, 0.7 * height, 10 + number],
    ]
    return _sample(_image(height, width, 500 + number), boxes)


def _assert_same(sample, image, rows, atol=1e-3):
    assert np.abs(sample.image.astype(int) - image).max() <= 1
    np.testing.assert_allclose(sample.boxes_xyxy, rows[:, :4], atol=atol)
    np.testing.assert_array_equal(sample.labels, rows[:, 4])


@pytest.mark.parametrize("case", range(5))
def test_letterbox(stored, case):
    height, width, out_height, out_width = stored[f"letterbox{case}_in_hw_out_hw"]
    image = _image(height, width, int(stored[f"letterbox{case}_seed"]))
    ours, ratio = letterbox(image, (int(out_height), int(out_width)))
    assert ratio == pytest.approx(float(stored[f"letterbox{case}_ratio"]), rel=1e-12)
    wanted = stored[f"letterbox{case}_out_chw"].transpose(1, 2, 0)
    assert np.abs(ours.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("flip_prob", [0, 1])
def test_training_sample(stored, flip_prob):
    sample = _sample(_image(40, 60, 200), stored["train_boxes_in"])
    spec = AugmentSpec(max_labels=6, flip_prob=flip_prob, hsv_prob=0)
    image, targets = finish_training_sample(sample, (64, 64), spec, np.random.default_rng(0))
    assert np.abs(image.astype(int) - stored[f"train_flip{flip_prob}_img"]).max() <= 1
    np.testing.assert_allclose(targets, stored[f"train_flip{flip_prob}_targets"], atol=1e-4)


def test_training_sample_of_tiny_boxes_is_not_augmented(stored):
    wanted = stored["train_alltiny_targets"]
    ratio = 64 / 60
    centre, size = wanted[0, 1:3] / ratio, wanted[0, 3:5] / ratio
    box = [*(centre - size / 2), *(centre + size / 2), wanted[0, 0]]
    spec = AugmentSpec(max_labels=6, flip_prob=1, hsv_prob=1)
    sample = _sample(_image(40, 60, 200), [box])
    image, targets = finish_training_sample(sample, (64, 64), spec, np.random.default_rng(0))
    assert np.abs(image.astype(int) - stored["train_alltiny_img"]).max() <= 1
    np.testing.assert_allclose(targets, wanted, atol=1e-4)


@pytest.mark.parametrize("case", range(3))
def test_hsv(stored, case):
    shifts = stored[f"hsv{case}_gains"] * [5, 30, 30] * stored[f"hsv{case}_select"]
    image = _image(24, 32, int(stored[f"hsv{case}_seed"]))
    ours = shift_hsv(image, tuple(shifts.astype(np.int16).tolist()))
    assert np.abs(ours.astype(int) - stored[f"hsv{case}_out"]).max() <= 1


@pytest.mark.parametrize("case", range(3))
def test_affine(stored, case):
    matrix = affine_matrix(AffineDraw(*stored[f"affine{case}_draws"]), (64, 96))
    np.testing.assert_allclose(matrix, stored[f"affine{case}_M"], atol=1e-9)
    image = _image(128, 192, int(stored[f"affine{case}_seed"]))
    warped = warp(_sample(image, stored[f"affine{case}_boxes_in"]), matrix, (64, 96))
    _assert_same(warped, stored[f"affine{case}_img"], stored[f"affine{case}_boxes"])


@pytest.mark.parametrize("case", range(3))
def test_mosaic(stored, case):
    centre = tuple(int(value) for value in stored[f"mosaic{case}_yc_xc"])
    tiles = [resize_to_fit(_tile(number), (64, 96)) for number in range(4)]
    ours = mosaic(tiles, centre, (64, 96))
    _assert_same(ours, stored[f"mosaic{case}_canvas"], stored[f"mosaic{case}_labels"])


@pytest.mark.parametrize("case", range(3))
def test_mixup(stored, case):
    jit, flip, y_off, x_off = stored[f"mixup{case}_draws_jit_flip_yoff_xoff"]
    extra_y, extra_x = max(int(64 * jit) - 64, 1), max(int(96 * jit) - 96, 1)
    draw = MixupDraw(jit, bool(flip > 0.5), (y_off + 0.5) / extra_y, (x_off + 0.5) / extra_x)
    sample = _sample(_image(64, 96, 600), [[3, 4, 50, 60, 8]])
    _assert_same(
        mixup(sample, _tile(2), draw), stored[f"mixup{case}_img"], stored[f"mixup{case}_labels"]
    )


def test_opencv_reads_bgr():
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 2] = 255
    encoded = cv2.imencode(".png", red)[1]
    assert (cv2.imdecode(encoded, cv2.IMREAD_COLOR) == red).all()
