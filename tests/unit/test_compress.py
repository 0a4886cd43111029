"""Importance, masks, sparse storage and merging."""

from pathlib import Path

import pytest
import torch

from tests.tiny_models import Noise
from yolox.compress.importance.weights import CRITERIA, lamp, layer_rank, magnitude
from yolox.compress.mask import draw_masks, kept_share, make_masks, maskable_weights, two_of_four
from yolox.compress.merge import merge
from yolox.compress.recipe import Recipe, load_recipe
from yolox.compress.steps import MaskStep, Storage
from yolox.engine import checkpoint
from yolox.engine.masks import apply_masks, check_masks, within
from yolox.engine.restore import load_for_tuning, restore
from yolox.errors import ModelError, UsageError
from yolox.families import build, spec_to_dict
from yolox.families.yolox import YoloxLoss, YoloxSpec
from yolox.models.complexity import count_nonzero
from yolox.models.fuse import fuse, is_fused
from yolox.ops.sparse import ENCODINGS, decode, encode

SPEC = YoloxSpec(num_classes=3, depth=0.33, width=0.125)
DISTANCE = YoloxLoss(SPEC.strides).distance


def test_no_layer_falls_below_the_floor():
    weights = {"small": torch.rand(10, 10) * 0.01, "large": torch.rand(20, 10) + 0.5}
    masks = make_masks(magnitude(weights), 0.4, floor=0.1)
    assert masks["small"].sum() == 10
    assert masks["large"].sum() == 170  # the share holds
    kept = weights["small"][masks["small"]]
    assert kept.min() >= weights["small"][~masks["small"]].max()


def test_what_was_masked_before_stays_masked():
    def mask(*kept):
        return torch.tensor([bool(k) for k in kept])

    former = {"head": mask(0, 1), "neck": mask(1, 0, 1)}
    both = within({"neck": mask(0, 1, 1), "stem": mask(1)}, former)
    assert {name: m.tolist() for name, m in both.items()} == {
        "head": [False, True],
        "neck": [False, False, True],
        "stem": [True],
    }


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build(SPEC).eval()


def test_magnitude_is_global():
    weights = {"small": torch.full((2, 2), 0.01), "large": torch.full((2, 2), 0.5)}
    masks = make_masks(magnitude(weights), 0.5)
    assert not masks["small"].any()
    assert masks["large"].all()


def test_magnitude_clamps_at_one():
    scores = magnitude({"w": torch.tensor([-3.0, 0.5, 2.0])})
    assert scores["w"].tolist() == [1.0, 0.5, 1.0]


def test_layer_takes_the_same_share_everywhere():
    weights = {"small": torch.rand(10, 10) * 0.01, "large": torch.rand(20, 10)}
    masks = make_masks(layer_rank(weights), 0.3)
    assert masks["small"].sum() == 70
    assert masks["large"].sum() == 140


def test_lamp_scores_of_known_weights():
    # squares 1, 4, 9: 1/14, 4/13, 9/9
    scores = lamp({"w": torch.tensor([3.0, -1.0, 2.0])})["w"]
    torch.testing.assert_close(scores, torch.tensor([1.0, 1 / 14, 4 / 13], dtype=torch.float64))


def test_two_of_four_keeps_the_best_of_neighbours():
    scores = {
        "w": torch.tensor([[4.0, 3.0, 2.0, 1.0, 1.0, 9.0, 2.0, 8.0]]),
        "odd": torch.ones(2, 3),
    }
    masks = two_of_four(scores)
    assert masks["w"].tolist() == [[True, True, False, False, False, True, False, True]]
    assert masks["odd"].all()


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("share", [0.0, 0.49, 0.9])
def test_share_is_exact(model, name, share):
    weights = maskable_weights(model)
    images = Noise((64, 64), 4)
    masks = draw_masks(model, MaskStep(share, name), images, DISTANCE)
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


@pytest.mark.parametrize("encoding", ENCODINGS)
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
    for encoding in ("bitmask", "packed"):
        found = decode(encode({"w": weight}, encoding, torch.float16))["w"]
        assert torch.equal(found, weight.half().float())


@pytest.mark.parametrize("values", [torch.float32, torch.float16])
def test_packed_values_take_less(values):
    """Weights of a network differ little in sign and exponent."""
    torch.manual_seed(0)
    state = {name: torch.randn(64, 32, 3, 3) * 0.05 for name in "ab"}
    state["a"][state["a"].abs() < 0.03] = 0
    sizes = {}
    for encoding in ("bitmask", "packed"):
        stored = encode(state, encoding, values)
        tensors = [*stored["dense"].values(), *(v for v in stored.values() if torch.is_tensor(v))]
        sizes[encoding] = sum(tensor.nbytes for tensor in tensors)
    assert sizes["packed"] < 0.9 * sizes["bitmask"]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("kept", 3, "has not the"),
        ("kept", -1, "is no shape"),
        ("kept", 10**12, "more than"),
        ("floats", [["b", [10**6, 10**6]]], "more than"),
        ("type", "float64", "is none of"),
        ("stream", torch.zeros(4, dtype=torch.uint8), "damaged"),
        ("stream", torch.zeros(4), "bits or values are"),
    ],
)
def test_a_packed_stream_that_is_not_what_it_says_is_refused(key, value, said):
    state = {"a": torch.tensor([[0.0, 1.0, 2.0]]), "b": torch.ones(4)}
    stored = encode(state, "packed", torch.float32)
    assert torch.equal(decode(stored)["a"], state["a"])
    with pytest.raises(ValueError, match=said):
        decode({**stored, key: value})


def test_nothing_may_stand_behind_a_packed_stream():
    stored = encode({"b": torch.ones(4)}, "packed", torch.float32)
    longer = torch.cat([stored["stream"], torch.zeros(3, dtype=torch.uint8)])
    shorter = stored["stream"][:-2]
    for stream in (longer, shorter):
        with pytest.raises(ValueError, match="has not the 4 that are stated"):
            decode({**stored, "stream": stream})


@pytest.mark.parametrize(("values", "limit"), [("fp32", 0.66), ("fp16", 0.36)])
def test_merged_checkpoint(model, tmp_path, values, limit):
    content = {"model": model.state_dict(), "spec": spec_to_dict(SPEC)}
    masks = make_masks(magnitude(maskable_weights(model, [])), 0.49)
    apply_masks(model, masks)
    masked = {**content, "model": model.state_dict(), "masks": masks}
    merged = merge(masked, model, Storage("bitmask", values))
    path, dense = tmp_path / "merged.pth", tmp_path / "dense.pth"
    checkpoint.save(path, merged)
    checkpoint.save(dense, {"model": fuse(model).state_dict()})
    restored = restore(path)
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
    merged = merge({"spec": spec_to_dict(SPEC)}, model, Storage())
    with pytest.raises(ModelError, match="merged"):
        load_for_tuning(build(SPEC), merged, "merged.pth")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("masks: {share: 0.5}\n", "unknown key 'masks'; did you mean 'mask'"),
        ("mask: {shares: 0.5}\n", "mask: unknown key 'shares'; did you mean 'share'"),
        ("mask: {share: 1.5}\n", r"mask: share 1\.5"),
        ("mask: {share: half}\n", "mask: share 'half'"),
        ("mask: {criterion: magnitud}\n", "criterion 'magnitud' is none of .*did you mean"),
        ("mask: {pattern: '1:4'}\n", "pattern '1:4' is none of"),
        ("mask: 0.5\n", "mask has no keys"),
        ("prune: {}\n", "prune needs one of params, macs, latency, latency_ms"),
        ("prune: {params: 0.5, latency: 0.5}\n", "one budget where time counts"),
        ("prune: {params: 2}\n", r"params 2 is not between"),
        ("prune: {macs: 0.5, criterion: taste}\n", "criterion 'taste' is none of"),
        ("prune: {macs: 0.5, round_to: 0}\n", "round_to 0 is not positive"),
        ("mask: {floor: 1.5}\n", r"floor 1\.5 is not in 0\.\.1"),
        ("mask: {}\nadapt: {ridge: 0.0}\n", r"ridge 0\.0 is not a positive number"),
        ("mask: {}\nadapt: {fold: 3}\n", "adapt: fold 3"),
        ("mask: {}\nmerge: {encoding: zip}\n", "encoding 'zip'"),
        ("mask: {}\nrecover: {conf: 2}\n", "conf 2 is not between 0 and 1"),
        ("mask: {}\nrecover: {images: 2}\n", "recover: images 2"),
        ("merge: {}\n", "nothing to compress"),
        ("- 1\n", "expected keys"),
        ("mask: [\n", "not valid YAML"),
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
