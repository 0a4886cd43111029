"""Importance, masks, sparse storage and merging."""

from pathlib import Path

import pytest
import torch

from compress.importance import CRITERIA, lamp, layer_rank, magnitude
from compress.mask import kept_share, make_masks, mask_checkpoint, maskable_weights
from compress.merge import Storage, merge
from compress.recipe import Recipe, load_recipe
from yolox.config import DetectorSpec, to_dict
from yolox.engine import checkpoint
from yolox.engine.masks import check_masks
from yolox.errors import ModelError, UsageError
from yolox.models import build
from yolox.models.complexity import count_nonzero
from yolox.models.fuse import fuse, is_fused
from yolox.ops.sparse import decode, encode

SPEC = DetectorSpec(num_classes=3, depth=0.33, width=0.125)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build(SPEC).eval()


def test_magnitude_is_global():
    weights = {"small": torch.full((2, 2), 0.01), "large": torch.full((2, 2), 0.5)}
    masks = make_masks(weights, 0.5, magnitude)
    assert not masks["small"].any()
    assert masks["large"].all()


def test_magnitude_clamps_at_one():
    scores = magnitude({"w": torch.tensor([-3.0, 0.5, 2.0])})
    assert scores["w"].tolist() == [1.0, 0.5, 1.0]


def test_layer_takes_the_same_share_everywhere():
    weights = {"small": torch.rand(10, 10) * 0.01, "large": torch.rand(20, 10)}
    masks = make_masks(weights, 0.3, layer_rank)
    assert masks["small"].sum() == 70
    assert masks["large"].sum() == 140


def test_lamp_scores_of_known_weights():
    # squares 1, 4, 9: 1/14, 4/13, 9/9
    scores = lamp({"w": torch.tensor([3.0, -1.0, 2.0])})["w"]
    torch.testing.assert_close(scores, torch.tensor([1.0, 1 / 14, 4 / 13], dtype=torch.float64))


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("share", [0.0, 0.49, 0.9])
def test_share_is_exact(model, name, share):
    weights = maskable_weights(model)
    masks = make_masks(weights, share, CRITERIA[name])
    total = sum(w.numel() for w in weights.values())
    assert sum(int((~m).sum()) for m in masks.values()) == round(share * total)
    assert kept_share(masks) == pytest.approx(1 - share, abs=1 / total)


def test_head_and_small_tensors_are_left_alone(model):
    names = list(maskable_weights(model))
    assert names
    assert not any("head" in name or "bn" in name for name in names)
    with pytest.raises(ModelError, match="no weights to mask"):
        maskable_weights(model, ["head", "backbone"])


def test_masks_of_another_architecture_are_named(model):
    with pytest.raises(ModelError, match="mask nowhere fits no parameter"):
        check_masks({"nowhere": torch.ones(1, dtype=torch.bool)}, model, "x.pth")


def test_fusing_keeps_the_function_and_the_model(model):
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    images = torch.rand(1, 3, 64, 64) * 255
    fused = fuse(model)
    assert is_fused(fused)
    assert not is_fused(model)
    with torch.no_grad():
        torch.testing.assert_close(fused(images), model(images), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("encoding", ["bitmask", "coo"])
def test_sparse_storage_is_bit_equal(encoding):
    torch.manual_seed(0)
    weight = torch.randn(5, 3, 3, 3) * (torch.rand(5, 3, 3, 3) > 0.5)
    state = {
        "w": weight,
        "bias": torch.randn(5),
        "count": torch.tensor(3),
        "dense": torch.randn(2, 2),
    }
    found = decode(encode(state, encoding, torch.float32))
    assert list(found) == list(state)
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_fp16_values_are_rounded_only():
    weight = torch.tensor([[0.0, 0.1], [0.0, -3.0]])
    found = decode(encode({"w": weight}, "bitmask", torch.float16))["w"]
    assert torch.equal(found, weight.half().float())


@pytest.mark.parametrize(("values", "limit"), [("fp32", 0.66), ("fp16", 0.36)])
def test_merged_checkpoint(model, tmp_path, values, limit):
    content = {"model": model.state_dict(), "spec": to_dict(SPEC)}
    masks = make_masks(maskable_weights(model, []), 0.49, magnitude)
    masked = mask_checkpoint(content, model, masks)
    merged = merge(masked, model, Storage("bitmask", values))
    path, dense = tmp_path / "merged.pth", tmp_path / "dense.pth"
    checkpoint.save(path, merged)
    checkpoint.save(dense, {"model": fuse(model).state_dict()})
    restored = checkpoint.restore(path)
    assert restored.fused
    assert path.stat().st_size < limit * dense.stat().st_size
    expected = fuse(model).state_dict()
    found = restored.model.state_dict()
    if values == "fp32":
        assert all(torch.equal(found[key], expected[key]) for key in expected)
        assert count_nonzero(restored.model) == merged["nonzero_params"]
    for name, mask in masks.items():
        assert not found[name][~mask].any()


def test_merged_checkpoints_cannot_be_trained(model, tmp_path):
    merged = merge({"spec": to_dict(SPEC)}, model, Storage())
    with pytest.raises(ModelError, match="merged"):
        checkpoint.load_for_tuning(build(SPEC), merged, "merged.pth")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("shares: 0.5\n", "did you mean 'share'"),
        ("share: 1.5\n", r"share 1\.5"),
        ("criterion: magnitud\n", "criterion 'magnitud' is none of"),
        ("encoding: zip\n", "encoding 'zip'"),
        ("tune: {warmup_epochs: 1}\n", "max_epoch"),
        ("- 1\n", "expected keys"),
        ("share: [\n", "not valid YAML"),
    ],
)
def test_wrong_recipes_are_named(tmp_path, text, words):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        load_recipe(path)


def test_shipped_recipes_load():
    found = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
    assert found
    for path in found:
        assert isinstance(load_recipe(path), Recipe)
