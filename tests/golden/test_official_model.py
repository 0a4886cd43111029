"""Outputs, losses, gradients and assignment of official YOLOX 0.3.0 on stored inputs."""

import importlib
import json
from types import ModuleType

import numpy as np
import pytest
import torch

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


@pytest.fixture(scope="module")
def recipe(golden_dir) -> ModuleType:
    return importlib.import_module("golden_recipe")


def _model(recipe, name):
    return recipe.load(build(OFFICIAL[name][0]), recipe.GAIN[name])


def _train_case(recipe, name):
    targets = recipe.TARGETS_NANO_416 if name == "nano" else recipe.TARGETS_S_256x320
    return torch.from_numpy(recipe.image_batch(TRAIN_CASES[name])), torch.from_numpy(targets)


@pytest.mark.parametrize("name", OFFICIAL)
def test_state_dict_keys_and_order(golden_dir, name):
    spec, parameters = OFFICIAL[name]
    with torch.device("meta"):
        model = build(spec)
    ours = [(key, list(value.shape)) for key, value in model.state_dict().items()]
    wanted = json.loads((golden_dir / f"keys_{name}.json").read_text())
    assert ours == [(key, shape) for key, shape in wanted.items()]
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("name", EVAL_CASES)
def test_decoded_outputs(golden_dir, recipe, name):
    shape, tolerance = EVAL_CASES[name]
    model = _model(recipe, name).eval()
    with torch.no_grad():
        ours = model(torch.from_numpy(recipe.image_batch(shape))).numpy()
    wanted = np.load(golden_dir / f"eval_{name}.npz")["decoded"]
    assert ours.shape == wanted.shape
    assert (np.abs(ours - wanted) / (np.abs(wanted) + 1e-3)).max() < tolerance


@pytest.mark.parametrize("case", ["nano_l10", "nano_l11", "s_l10", "s_l11"])
def test_losses_and_gradients(golden_dir, recipe, case):
    name, plain = case.split("_")[0], case.endswith("l11")
    wanted = json.loads((golden_dir / "train.json").read_text())[case]
    images, targets = _train_case(recipe, name)
    model = _model(recipe, name).train()
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
def test_simota_assignment(golden_dir, recipe, name):
    stored = np.load(golden_dir / "simota.npz")
    images, targets = _train_case(recipe, name)
    model = _model(recipe, name).double().train()
    with torch.no_grad():
        raw = model(images.double())
    points, strides = grid_points(raw.sizes, (8, 16, 32), raw.box.device, raw.box.dtype)
    boxes = decode_boxes(raw.box, points, strides)
    for image in range(len(images)):
        real = targets[image][targets[image].sum(dim=1) > 0].double()
        predictions = PointPredictions(boxes[image], raw.obj[image], raw.cls[image])
        found = assign(predictions, real, points, strides)
        prefix = f"{name}_img{image}"
        if f"{prefix}_fg_index" not in stored:
            assert len(found.points) == 0
            continue
        np.testing.assert_array_equal(found.points, stored[f"{prefix}_fg_index"])
        np.testing.assert_array_equal(found.objects, stored[f"{prefix}_matched_gt_inds"])
        np.testing.assert_array_equal(real[found.objects, 0], stored[f"{prefix}_matched_classes"])
        np.testing.assert_allclose(found.ious, stored[f"{prefix}_pred_ious"], rtol=1e-3)
