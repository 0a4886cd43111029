"""Outputs, losses, gradients and assignment of official YOLOX 0.3.0 on stored inputs."""

import numpy as np
import pytest
import torch

from tests.golden import recipe
from tests.golden.reference import ALL_CLASSES_STEP, CLASSES, load_arrays, load_json
from yolox.families import build
from yolox.families.yolox import YoloxSpec
from yolox.families.yolox.loss import YoloxLoss
from yolox.families.yolox.simota import PointPredictions, assign
from yolox.ops.points import decode_boxes, grid_points

OFFICIAL = {
    "nano": (YoloxSpec(depth=0.33, width=0.25, depthwise=True), 912_159),
    "tiny": (YoloxSpec(depth=0.33, width=0.375), 5_055_855),
    "s": (YoloxSpec(depth=0.33, width=0.5), 8_968_255),
    "m": (YoloxSpec(depth=0.67, width=0.75), 25_326_495),
    "l": (YoloxSpec(), 54_208_895),
    "x": (YoloxSpec(depth=1.33, width=1.25), 99_071_455),
    "yolov3": (YoloxSpec(backbone="darknet53", act="lrelu"), 63_724_767),
}
TRAIN_CASES = {"nano": (3, 3, 416, 416), "s": (2, 3, 256, 320)}
EVAL_CASES = {"nano": ((2, 3, 416, 416), 5e-4), "s": ((1, 3, 256, 320), 5e-3)}


def _model(name):
    return recipe.fill(build(OFFICIAL[name][0]), name)


def _train_case(name):
    return recipe.images(TRAIN_CASES[name]), recipe.targets(name)


@pytest.mark.parametrize("name", EVAL_CASES)
def test_recipe_gives_the_images_and_weights_of_the_reference_runs(name):
    wanted = load_arrays(f"eval_{name}")
    assert recipe.images(EVAL_CASES[name][0]).double().sum() == wanted["input_sum"]
    weights = [value.double() for value in _model(name).state_dict().values()]
    for key, ours in (
        ("weights_float64_sum", sum(value.sum() for value in weights)),
        ("weights_float64_abs_sum", sum(value.abs().sum() for value in weights)),
    ):
        assert float(ours) == pytest.approx(float(wanted[key]), rel=1e-9), key


@pytest.mark.parametrize("name", OFFICIAL)
def test_state_dict_keys_and_order(name):
    spec, parameters = OFFICIAL[name]
    with torch.device("meta"):
        model = build(spec)
    ours = [(key, list(value.shape)) for key, value in model.state_dict().items()]
    assert ours == list(load_json("keys")[name].items())
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("name", EVAL_CASES)
def test_decoded_outputs(name):
    shape, tolerance = EVAL_CASES[name]
    model = _model(name).eval()
    with torch.no_grad():
        ours = model(recipe.images(shape)).numpy()
    wanted = load_arrays(f"eval_{name}")
    probs = ours[..., 5:]
    assert probs.shape == (*wanted["box_obj"].shape[:2], CLASSES)
    best = np.take_along_axis(probs, wanted["best_classes"], axis=-1)
    _assert_close(ours[..., :5], wanted["box_obj"], tolerance)
    _assert_close(best, wanted["best_probs"], tolerance)
    _assert_close(probs[:, ::ALL_CLASSES_STEP], wanted["all_probs"], tolerance)
    _assert_close(probs.sum(axis=-1), wanted["prob_sums"], tolerance, floor=CLASSES * 1e-3)


def _assert_close(ours, wanted, tolerance, floor=1e-3):
    assert (np.abs(ours - wanted) / (np.abs(wanted) + floor)).max() < tolerance


@pytest.mark.parametrize("case", ["nano_l10", "nano_l11", "s_l10", "s_l11"])
def test_losses_and_gradients(case):
    name, plain = case.split("_")[0], case.endswith("l11")
    wanted = load_json("train")[case]
    images, targets = _train_case(name)
    model = _model(name).train()
    criterion = YoloxLoss((8, 16, 32))
    losses = criterion(model(images), targets, plain=plain)
    for key, value in wanted["losses"].items():
        assert float(losses[key].detach()) == pytest.approx(value, rel=1e-4, abs=1e-6), key
    losses["total_loss"].backward()
    for key, parameter in model.named_parameters():
        ours = float(parameter.grad.double().norm())
        assert ours == pytest.approx(wanted["grad_l2"][key], rel=5e-3, abs=1e-6), key
    for key, value in wanted["bn_running_l2_after_1_forward"].items():
        assert float(model.state_dict()[key].double().norm()) == pytest.approx(value, rel=1e-3), key


@pytest.mark.parametrize("name", TRAIN_CASES)
def test_simota_assignment(name):
    stored = load_arrays("simota")
    images, targets = _train_case(name)
    model = _model(name).double().train()
    with torch.no_grad():
        raw = model(images.double())
    points, strides = grid_points(raw.sizes, (8, 16, 32), raw.box.device, raw.box.dtype)
    boxes = decode_boxes(raw.box, points, strides)
    predictions = PointPredictions(boxes, raw.obj, raw.cls)
    found, objects = assign(predictions, targets.double(), points, strides)
    assert objects == int((targets.sum(dim=2) > 0).sum())
    for image in range(len(images)):
        own = found.images == image
        prefix = f"{name}_img{image}"
        if f"{prefix}_fg_index" not in stored:
            assert not own.any()
            continue
        rows = found.rows[own]
        np.testing.assert_array_equal(found.points[own], stored[f"{prefix}_fg_index"])
        np.testing.assert_array_equal(rows, stored[f"{prefix}_matched_gt_inds"])
        classes = targets[image, rows, 0]
        np.testing.assert_array_equal(classes, stored[f"{prefix}_matched_classes"])
        np.testing.assert_allclose(found.ious[own], stored[f"{prefix}_pred_ious"], rtol=1e-3)
