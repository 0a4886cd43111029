"""`yolox verify`: what has changed since a run is named, and nothing else."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.pipeline.runs import error_line, run_training
from yolox.cli.common import run
from yolox.cli.compress import main as prune_main
from yolox.cli.verify import main as verify_main
from yolox.engine import checkpoint


@pytest.fixture(scope="module")
def folders(tmp_path_factory, synthetic_dir):
    """A training and a compression of its result, with a copy of the data beside them."""
    base = tmp_path_factory.mktemp("verify")
    data = shutil.copytree(synthetic_dir, base / "data")
    exp = base / "tiny.py"
    exp.write_text(
        "from yolox.exp import Exp as BaseExp\n\n\nclass Exp(BaseExp):\n"
        "    def __init__(self):\n        super().__init__()\n"
        f"        self.data_dir, self.output_dir = {str(data)!r}, {str(base / 'out')!r}\n"
        "        self.num_classes, self.depth, self.width = 3, 0.33, 0.125\n"
        "        self.input_size = self.test_size = (64, 64)\n"
        "        self.random_size, self.data_num_workers = (2, 3), 0\n"
        "        self.max_epoch, self.warmup_epochs, self.no_aug_epochs = 1, 0, 1\n"
    )
    _, result = run_training(exp)
    recipe = base / "recipe.yaml"
    recipe.write_text("prune: {params: 0.6, criterion: l2}\nadapt:\n")
    words = ["--ckpt", str(result.folder / "best_ckpt.pth"), "--recipe", str(recipe)]
    words += ["--out", str(base / "small"), "--backends", "none", "--device", "cpu"]
    assert run(prune_main, words) == 0
    return base


@pytest.fixture
def run_of(folders, tmp_path):
    """A copy that a test may change, checked by `call(name, *words)`."""
    copy = tmp_path / "copy"
    shutil.copytree(folders, copy)

    def call(name, *words):
        target = copy / name
        return run(verify_main, [str(target), *words, "data_dir", str(copy / "data")])

    call.copy = copy
    return call


def test_what_was_not_touched_holds(run_of, tmp_path, capsys):
    found = tmp_path / "checks.json"
    assert run_of("out/tiny", "--ap", "--device", "cpu") == 0
    shown = capsys.readouterr().out
    assert "AP of best_ckpt.pth" in shown
    assert "as hashed" in shown
    assert "carries no hash" not in shown
    assert run_of("small", "--ap", "--device", "cpu", "--json", str(found)) == 0
    checks = json.loads(found.read_text())
    assert {c["what"] for c in checks} >= {"dense", "pruned", "merged", "validation data"}
    assert all(c["ok"] is not False for c in checks)


def weaken(path):
    content = checkpoint.read(path)
    content["model"] = {
        k: v * 0.5 if v.is_floating_point() else v for k, v in content["model"].items()
    }
    checkpoint.save(path, content)


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def replace_image(path):
    path.write_bytes(path.read_bytes() + b"more")


@pytest.mark.parametrize(
    ("name", "file", "change", "said"),
    [
        ("out/tiny", "out/tiny/best_ckpt.pth", weaken, "best_ckpt.pth: "),
        ("out/tiny", "out/tiny/latest_ckpt.pth", flip_a_byte, "content of latest_ckpt.pth"),
        ("out/tiny", "out/tiny/best_ckpt.pth", flip_a_byte, "best_ckpt.pth: "),
        ("out/tiny", "out/tiny/best_ckpt.pth", Path.unlink, "best_ckpt.pth is absent"),
        ("small", "small/pruned.pth", weaken, "pruned: "),
        ("small", "data/val2017", replace_image, "validation data"),
    ],
)
def test_what_has_changed_is_named(run_of, folders, capsys, name, file, change, said, monkeypatch):
    target = run_of.copy / file
    if target.is_dir():
        target = sorted(target.iterdir())[0]
    change(target)
    report = run_of.copy / "small" / "report.json"  # its files are named where they were made
    report.write_text(report.read_text().replace(str(folders), str(run_of.copy)))
    assert run_of(name) == 1
    assert said in error_line(capsys)


def test_a_lower_ap_is_drift(run_of, capsys):
    path = run_of.copy / "out" / "tiny" / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "best_ap": content["best_ap"] + 0.001}))
    assert run_of("out/tiny") == 0
    capsys.readouterr()
    assert run_of("out/tiny", "--ap", "--device", "cpu") == 1
    assert "AP of best_ckpt.pth" in error_line(capsys)


def test_an_official_checkpoint_carries_no_hash(tmp_path, capsys):
    path = tmp_path / "official.pth"
    torch.save({"model": {"w": torch.ones(1)}}, path)
    assert run(verify_main, [str(path)]) == 0
    assert "carries no hash" in capsys.readouterr().out


def test_what_is_no_run_is_said(tmp_path, capsys):
    assert run(verify_main, [str(tmp_path)]) == 3
    assert "neither manifest.json nor report.json" in error_line(capsys)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (None, "no git"),
        ({"commit": "abc", "dirty": False}, "abc "),
        ({"commit": "abc", "dirty": True}, "abc and changes"),
    ],
)
def test_other_code_is_shown_and_no_fault(run_of, capsys, state, said):
    path = run_of.copy / "out" / "tiny" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "git": state}))
    assert run_of("out/tiny") == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("code")]
    assert said in line


@pytest.mark.parametrize(
    ("name", "file", "key", "value", "said"),
    [
        ("small", "report.json", "stages", None, "record.stages None is not"),
        ("small", "report.json", "stages", [], "stages or lineage is empty"),
        ("small", "report.json", "lineage", [{"name": "x"}], "record.lineage[0] has no file"),
        (
            "small",
            "report.json",
            "checkpoint",
            {"path": "x", "sha256": 3},
            "checkpoint.sha256 3 is",
        ),
        ("out/tiny", "manifest.json", "choice", [], "record.choice [] is not an object"),
        ("out/tiny", "manifest.json", "fingerprints", {"a": 1}, "an object (text to text)"),
    ],
)
def test_damaged_records_are_named_with_their_key(run_of, capsys, name, file, key, value, said):
    path = run_of.copy / name / file
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    assert run_of(name) == 3
    line = error_line(capsys)
    assert str(path) in line
    assert said in line


def test_a_compression_is_checked_with_the_options_it_had(run_of, capsys):
    ckpt, recipe = run_of.copy / "out/tiny/best_ckpt.pth", run_of.copy / "recipe.yaml"
    words = ["--ckpt", str(ckpt), "--recipe", str(recipe), "--out", str(run_of.copy / "other")]
    words += ["--backends", "none", "--device", "cpu", "data_dir", str(run_of.copy / "data")]
    other = ["val_ann", "instances_train2017.json", "val_name", "train2017"]
    assert run(prune_main, [*words, *other]) == 0
    assert run_of("other") == 0
    assert "validation data" in capsys.readouterr().out
