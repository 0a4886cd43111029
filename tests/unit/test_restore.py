"""Models of checkpoints: absurd weights, and parts that are not what they must be, are refused."""

import copy

import pytest
import torch

from yolox.engine import checkpoint
from yolox.engine.restore import require_sound_optimizer, restore, restore_content
from yolox.errors import ModelError, UsageError
from yolox.families import build, spec_to_dict
from yolox.families.yolox import YoloxSpec
from yolox.models.fuse import fuse
from yolox.ops.sparse import ENCODINGS, decode, encode

SPEC = YoloxSpec(num_classes=3, depth=0.33, width=0.125)
LAYER = "backbone.backbone.stem.conv"


@pytest.fixture(scope="module")
def dense():
    return {"model": build(SPEC).state_dict(), "spec": spec_to_dict(SPEC)}


def test_absurd_weights_are_refused(dense):
    for key, value, words in (
        ("conv.weight", 1e30, "holds 1e[+]30"),
        ("conv.weight", float("inf"), "not finite"),
        ("bn.weight", float("nan"), "not finite"),
        ("bn.running_var", -1e-3, "running_var is negative"),
        ("bn.num_batches_tracked", -1, "num_batches_tracked is negative"),
    ):
        content = copy.deepcopy(dense)
        content["model"][f"{LAYER}.{key}"].view(-1)[0] = value
        with pytest.raises(ModelError, match=words):
            restore_content(content, "x.pth")
    for changed in (torch.int32, torch.bool, torch.complex64):
        content = copy.deepcopy(dense)
        name = f"{LAYER}.conv.weight"
        content["model"][name] = content["model"][name].to(changed)
        with pytest.raises(ModelError, match=f"{name} is of type {changed}"):
            restore_content(content, "x.pth")
    half = {key: v.half() if v.is_floating_point() else v for key, v in dense["model"].items()}
    restore_content({**dense, "model": half}, "x.pth")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 40.0}, "parameters: .* .set YOLOX_MAX_PARAMETERS"),
        ({"depth": 1e9}, "depth 1000000000.0 is more than 64"),
        ({"depth": float("nan")}, "depth nan is not a number"),
        ({"width": 1e-3}, "width 0.001 leaves a stage without channels"),
        ({"channels": [10**9] * 3}, "x.pth: num_classes 3, depth"),
        ({"num_classes": 10**18}, "more than 1,000,000,000"),
        ({"num_classes": True}, "num_classes True is not a whole number"),
        ({"strides": [8, 16]}, "strides"),
        ({"strides": "8"}, "strides '8' is not a tuple"),
        ({"act": ["silu"]}, r"act \['silu'\] is not text"),
        ({"widht": 1}, "did you mean 'width'"),
    ],
)
def test_architectures_are_checked_before_memory_is_taken(dense, monkeypatch, change, words):
    monkeypatch.setattr("yolox.engine.restore.build", lambda spec: pytest.fail("built"))
    with pytest.raises(ModelError, match=words):
        restore_content({**dense, "spec": {**dense["spec"], **change}}, "x.pth")


def test_weights_are_compared_before_memory_is_taken(dense, monkeypatch):
    monkeypatch.setattr("yolox.engine.restore.build", lambda spec: pytest.fail("built"))
    for content in (
        {**dense, "spec": {**dense["spec"], "width": 2.0}},
        {**dense, "spec": {**dense["spec"], "depth": 4.0}},
        {"spec": {**dense["spec"], "width": 2.0}, "sparse": encode({}, "bitmask", torch.float32)},
    ):
        with pytest.raises(ModelError, match="another architecture"):
            restore_content(content, "x.pth")


def test_layers_that_were_cut_must_fit_each_other(dense):
    content = copy.deepcopy(dense)
    first = f"{LAYER}.conv"
    width = content["model"][f"{first}.weight"].shape[0]
    kept = list(range(width - 1))
    content["channels"] = {first: {"out": kept}}
    content["model"][f"{first}.weight"] = content["model"][f"{first}.weight"][:-1]
    with pytest.raises(ModelError, match="what is left does not fit together"):
        restore_content(content, "x.pth")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", [1]),
        ("model", {"a": 1}),
        ("model", {1: torch.zeros(1)}),
        ("model", {"a": torch.eye(2).to_sparse()}),
        ("spec", [1]),
        ("channels", {"a": [0]}),
        ("channels", {"a": {"out": [0.5]}}),
        ("channels", {"a": {}}),
        ("channels", {"a": {"up": [0]}}),
        ("channels", 3),
        ("masks", {"a": torch.ones(1)}),
        ("masks", [1]),
        ("class_names", "abc"),
        ("class_names", ["a", 3]),
        ("class_names", ["\ud800"]),
        ("category_ids", ["1"]),
        ("category_ids", [2**70]),
        ("exp", "yolox-s"),
        ("start_epoch", -1),
        ("start_epoch", 1.5),
        ("best_ap", float("nan")),
        ("best_ap", "high"),
        ("optimizer", [1]),
        ("optimizer", {"state": {0: 3}}),
        ("optimizer", {"param_groups": {}}),
        ("state", 3),
        ("state", {"step": -1}),
        ("state", {"rng": torch.zeros(3)}),
        ("state", {"raw_model": {"a": None}}),
        ("state", {"steps_per_epoch": 0}),
        ("nonzero_params", "many"),
        ("chosen", {"a": 1}),
        ("chosen", {"kept": "a", "measure": "AP", "scores": {"b": 1.0}}),
    ],
)
def test_malformed_parts_are_named(tmp_path, dense, key, value):
    path = tmp_path / "odd.pth"
    torch.save({**dense, key: value}, path)
    with pytest.raises(ModelError, match=rf"odd\.pth: {key}"):
        checkpoint.read(path)


def test_names_and_ids_must_be_as_many_as_classes(dense):
    for key, values in (("class_names", ["a"]), ("category_ids", [1, 2])):
        with pytest.raises(ModelError, match=f"{len(values)} {key}, 3 classes"):
            restore_content({**dense, key: values}, "x.pth")


def damaged_sparse(stored):
    """Ways to damage bit masks and values: a name, and what is stored then."""

    def changed(**parts):
        return {**stored, **parts}

    names, bits = copy.deepcopy(stored["names"]), stored["bits"]
    index = next(number for number, (_, shape) in enumerate(names) if shape)
    yield "inverted", changed(bits=~bits)
    yield "cut bits", changed(bits=bits[:-1])
    yield "more bits", changed(bits=torch.cat([bits, bits[:1]]))
    yield "cut values", changed(values=stored["values"][:-1])
    yield "more values", changed(values=torch.cat([stored["values"], torch.ones(1)]))
    yield "type of bits", changed(bits=bits.int())
    yield "type of values", changed(values=stored["values"].int())
    for shape in ([10**12], [-1], [0.5], ["a"], 3, [2**62, 2**62]):
        other = copy.deepcopy(names)
        other[index][1] = shape
        yield f"shape {shape}", changed(names=other)
    yield "names", changed(names=[["a"]])
    yield "no names", changed(names=3)
    yield "no dense", changed(dense={})
    yield "encoding", changed(encoding="zip")
    yield "nothing", {}


def test_damaged_bit_masks_are_refused(dense):
    model = fuse(build(SPEC).eval())
    state = model.state_dict()
    for value in state.values():
        if value.dim() == 4:
            value[value.abs() < value.abs().median()] = 0
    stored = encode(state, "bitmask", torch.float32)
    assert all(torch.equal(value, state[key]) for key, value in decode(stored).items())

    def accepted(content):
        try:
            restore_content({"spec": dense["spec"], "sparse": content}, "x.pth")
        except ModelError:
            return False
        return True

    assert [what for what, content in damaged_sparse(stored) if accepted(content)] == []


def test_an_optimiser_state_must_fit_and_be_finite():
    weight = torch.nn.Parameter(torch.zeros(2, 3))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    weight.grad = torch.ones(2, 3)
    optimizer.step()
    require_sound_optimizer(optimizer, "x.pth")
    optimizer.state[weight]["momentum_buffer"] = torch.full((2, 3), float("nan"))
    with pytest.raises(ModelError, match="momentum_buffer holds values that are not finite"):
        require_sound_optimizer(optimizer, "x.pth")
    optimizer.state[weight]["momentum_buffer"] = torch.zeros(3, 2)
    with pytest.raises(ModelError, match=r"momentum_buffer has shape \(3, 2\)"):
        require_sound_optimizer(optimizer, "x.pth")


def test_models_that_are_too_large_are_a_mistake_of_the_command_line():
    with pytest.raises(UsageError, match="more than 500,000,000"):
        build(YoloxSpec(width=40.0))


def test_a_merged_checkpoint_of_any_encoding_comes_back(tmp_path, dense):
    model = fuse(build(SPEC).eval())
    for encoding in ENCODINGS:
        path = tmp_path / f"{encoding}.pth"
        sparse = encode(model.state_dict(), encoding, torch.float32)
        checkpoint.save(path, {"spec": dense["spec"], "sparse": sparse})
        found = restore(path).model.state_dict()
        assert all(torch.equal(value, found[key]) for key, value in model.state_dict().items())
