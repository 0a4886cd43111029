"""Checkpoints: written whole, read safely, loaded strictly."""

import os

import numpy as np
import pytest
import torch

from yolox.engine import checkpoint
from yolox.engine.restore import load_for_tuning, restore
from yolox.errors import ModelError, YoloxError
from yolox.families import build, spec_to_dict
from yolox.families.yolox import YoloxSpec

SMALL = YoloxSpec(num_classes=3, depth=0.33, width=0.125)
DEEPER = YoloxSpec(num_classes=3, depth=0.67, width=0.125)


class Runs:
    """A pickle that would run code."""

    def __reduce__(self):
        return (os.system, ("true",))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "small.pth"
    checkpoint.save(path, {"model": build(SMALL).state_dict(), "spec": spec_to_dict(SMALL)})
    return path


def test_round_trip(saved):
    restored = restore(saved)
    assert restored.spec == SMALL
    assert not restored.model.training
    stored = checkpoint.read(saved)["model"]
    assert all(torch.equal(v, stored[k]) for k, v in restored.model.state_dict().items())


def test_official_checkpoints_with_numpy_scalars_are_read(tmp_path):
    path = tmp_path / "official.pth"
    torch.save({"model": build(SMALL).state_dict(), "best_ap": np.float64(0.25)}, path)
    assert checkpoint.read(path)["best_ap"] == 0.25
    with pytest.raises(ModelError, match="name it with -f or -n"):
        restore(path)
    assert restore(path, SMALL).spec == SMALL


def test_code_is_refused(tmp_path):
    path = tmp_path / "evil.pth"
    torch.save({"model": Runs()}, path)
    with pytest.raises(ModelError, match=r"evil\.pth: refused, it would run code .*system"):
        checkpoint.read(path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80garbage"])
def test_rubbish_is_named(tmp_path, content):
    path = tmp_path / "rubbish.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"checkpoint .*rubbish\.pth"):
        checkpoint.read(path)


def test_half_a_file_is_damaged(saved):
    data = saved.read_bytes()
    saved.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="damaged"):
        checkpoint.read(saved)


def test_other_architecture_names_the_first_key(tmp_path):
    path = tmp_path / "plain.pth"
    checkpoint.save(path, {"model": build(SMALL).state_dict()})
    with pytest.raises(ModelError, match=r"missing \d+ keys, first: backbone\.backbone\.dark2"):
        restore(path, DEEPER)


def test_other_spec_names_the_value(saved):
    with pytest.raises(ModelError, match=r"depth is 0\.33, the experiment has 0\.67"):
        restore(saved, DEEPER)


def test_values_that_are_not_finite_are_refused(tmp_path):
    state = build(SMALL).state_dict()
    state["head.stems.0.conv.weight"][0] = float("nan")
    path = tmp_path / "nan.pth"
    checkpoint.save(path, {"model": state, "spec": spec_to_dict(SMALL)})
    with pytest.raises(ModelError, match=r"head\.stems\.0\.conv\.weight .*not finite"):
        restore(path)


def test_failed_write_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def fail(content, path):
        path.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(YoloxError, match="disk full"):
        checkpoint.save(saved, {"model": {}})
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_tuning_with_other_classes_starts_only_class_predictions_anew():
    content = {"model": build(YoloxSpec(num_classes=5, depth=0.33, width=0.125)).state_dict()}
    model = build(SMALL)
    fresh = load_for_tuning(model, content, "x.pth")
    assert fresh == [
        f"head.cls_preds.{level}.{kind}" for level in range(3) for kind in ("weight", "bias")
    ]
    state = model.state_dict()
    same = [key for key in state if key not in fresh]
    assert all(torch.equal(state[key], content["model"][key]) for key in same)
