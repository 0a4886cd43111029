"""Compression from end to end: prune, train, resume, prune again, merge, evaluate, export."""

import json

import pytest
import torch

from compress.choose import latency
from compress.prune import main as prune_main
from tests.pipeline.runs import error_line, run_training
from yolox.cli.common import run
from yolox.cli.eval import main as eval_main
from yolox.cli.export import main as export_main
from yolox.cli.train import main as train_main
from yolox.engine import checkpoint
from yolox.exp import get_exp
from yolox.models.complexity import count_parameters

CPU = ("--device", "cpu")
QUICK = ("--no-eval", "--backends", "none")


@pytest.fixture
def recipe(tmp_path):
    """Masks and channels, adapted and tuned for an epoch with the dense model as the teacher."""
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "mask: {share: 0.4, images: 4}\n"
        "prune: {params: 0.6, round_to: 2, images: 4}\n"
        "adapt: {images: 4, recalibrate: true}\n"
        "recover: {max_epoch: 1, warmup_epochs: 0, teacher: dense, distill_features: 0.5}\n"
    )
    return str(path)


def parameters(path):
    return count_parameters(checkpoint.restore(path).model)


def test_prune_train_resume_prune_again_merge_evaluate(tiny_exp, ckpt, tmp_path, out_dir):
    first, second = tmp_path / "first", tmp_path / "second"
    words = ["--params", "0.6", "--until", "prune", "--calibration", out_dir]
    assert run(prune_main, ["--ckpt", str(ckpt), "--out", str(first), *words, *CPU]) == 0
    pruned = first / "pruned.pth"
    assert parameters(pruned) < 0.62 * parameters(ckpt)

    tune = {"name": "tune", "ckpt": str(pruned)}
    with pytest.raises(Exception, match="interrupted after step 2"):
        run_training(tiny_exp, stop_after=2, **tune)
    _, result = run_training(tiny_exp, name="tune", resume=True)
    tuned = result.folder / "best_ckpt.pth"
    content = checkpoint.read(result.folder / "latest_ckpt.pth")
    assert content["channels"] == checkpoint.read(pruned)["channels"]
    assert parameters(tuned) == parameters(pruned)
    raw = content["state"]["raw_model"]
    assert all(raw[key].shape == value.shape for key, value in content["model"].items())

    words = ["--params", "0.6", "--share", "0.4", "--out", str(second), "--calibration", out_dir]
    assert run(prune_main, ["--ckpt", str(tuned), *words, *QUICK, *CPU]) == 0
    merged = second / "merged.pth"
    assert parameters(second / "pruned.pth") < 0.62 * parameters(tuned)
    found = tmp_path / "eval.json"
    assert run(eval_main, [*CPU, "-c", str(merged), "-b", "4", "--json", str(found)]) == 0
    assert json.loads(found.read_text())["params"] == parameters(merged)
    exported = tmp_path / "small.onnx"
    words = ["-c", str(tuned), "--output-name", str(exported)]
    assert run(export_main, words) == 0
    assert exported.is_file()
    words = ["-f", str(tiny_exp), "-b", "4", "-c", str(merged)]
    assert run(train_main, [*CPU, *words]) == 4


def test_every_stage_can_be_the_last_and_the_run_ends_the_same(ckpt, tmp_path, recipe):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    common = ["--ckpt", str(ckpt), "--recipe", recipe, "-b", "4", *QUICK, *CPU]
    assert run(prune_main, [*common, "--out", str(whole)]) == 0
    for stage in ("mask", "plan", "prune", "adapt", "recover", "merge", "evaluate"):
        assert run(prune_main, [*common, "--out", str(parts), "--until", stage]) == 0
    merged = [checkpoint.restore(folder / "merged.pth").model for folder in (whole, parts)]
    for key, value in merged[0].state_dict().items():
        assert torch.equal(value, merged[1].state_dict()[key]), key
    reports = [json.loads((folder / "report.json").read_text()) for folder in (whole, parts)]
    assert [s["name"] for s in reports[0]["stages"]] == [s["name"] for s in reports[1]["stages"]]
    assert [s["nonzero_params"] for s in reports[0]["stages"]] == [
        s["nonzero_params"] for s in reports[1]["stages"]
    ]


def test_what_is_done_is_kept_and_what_changed_is_done_again(ckpt, tmp_path, capsys, out_dir):
    common = ["--ckpt", str(ckpt), "--out", str(tmp_path / "out"), "--calibration", out_dir]
    common += [*QUICK, *CPU, "--until", "prune"]
    assert run(prune_main, [*common, "--params", "0.7"]) == 0
    capsys.readouterr()
    assert run(prune_main, [*common, "--params", "0.7"]) == 0
    said = capsys.readouterr().err
    assert "plan: done before" in said
    assert "prune: done before" in said
    assert run(prune_main, [*common, "--params", "0.5"]) == 0
    assert "done before" not in capsys.readouterr().err
    (tmp_path / "out" / "pruned.pth").write_bytes(b"damaged")
    assert run(prune_main, [*common, "--params", "0.5"]) == 0
    said = capsys.readouterr().err
    assert "plan: done before" in said
    assert "pruned.pth is gone or was changed" in said
    assert run(prune_main, [*common, "--params", "0.5", "--from", "plan"]) == 0
    assert "done before" not in capsys.readouterr().err


def test_a_latency_budget_is_met_or_said_not_to_be(ckpt, tmp_path, capsys, out_dir, monkeypatch):
    monkeypatch.setattr(latency, "SECONDS", 1.0)
    words = ["--ckpt", str(ckpt), "--out", str(tmp_path / "out"), "--calibration", out_dir]
    words += ["--until", "plan", *CPU, "test_size", "(256, 256)"]
    code = run(prune_main, [*words, "--latency", "0.7"])
    said = capsys.readouterr().err
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    ratio = plan["measured"]["ratio"]
    assert ratio == pytest.approx(plan["measured"]["ms"] / plan["measured"]["dense_ms"])
    if abs(ratio / 0.7 - 1) <= 0.05:
        assert code == 0
    else:  # a noisy machine: then it must be said
        assert code == 1
        assert "latency budget was not met" in said
    assert run(prune_main, [*words, "--latency-ms", "0.001"]) == 2
    assert "is the smallest" in error_line(capsys)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--params", "0.001"], 2, "is the smallest share"),
        (["--params", "0.5", "--calibration", "EMPTY"], 3, "holds no image"),
    ],
)
def test_what_cannot_be_done_is_said(ckpt, tmp_path, capsys, words, code, said):
    empty = tmp_path / "empty"
    empty.mkdir()
    words = [str(empty) if word == "EMPTY" else word for word in words]
    out = tmp_path / "out"
    assert run(prune_main, ["--ckpt", str(ckpt), "--out", str(out), *words, *QUICK, *CPU]) == code
    assert said in error_line(capsys)
    assert not list(out.glob("*.pth"))


def test_masks_and_channels_of_another_architecture(tiny_exp, ckpt, tmp_path, capsys):
    content = checkpoint.read(ckpt)
    bad = tmp_path / "bad.pth"
    checkpoint.save(bad, {**content, "channels": {"backbone.nowhere": {"out": [0]}}})
    assert run(eval_main, [*CPU, "-c", str(bad)]) == 4
    assert "no layer backbone.nowhere" in error_line(capsys)
    checkpoint.save(bad, {**content, "channels": {"backbone.backbone.stem.conv.conv": [0]}})
    assert run(eval_main, [*CPU, "-c", str(bad)]) == 4
    assert "channels are not lists" in error_line(capsys)
    checkpoint.save(bad, {**content, "masks": {"nowhere": torch.ones(1, dtype=torch.bool)}})
    for command in (
        ["-f", str(tiny_exp), "-b", "4", "-c", str(bad)],
        ["-f", str(tiny_exp), "-b", "4", "-c", str(bad), "distill_features", "1.0"],
    ):
        assert run(train_main, [*CPU, *command]) == 4
        assert "mask nowhere fits no parameter" in error_line(capsys)
    words = ["--ckpt", str(bad), "--params", "0.5", "--out", str(tmp_path / "o"), *QUICK, *CPU]
    assert run(prune_main, words) == 4
    assert "mask nowhere fits no parameter" in error_line(capsys)


@pytest.fixture
def out_dir(tiny_exp):
    """A folder of images to calibrate with."""
    return f"{get_exp(exp_file=str(tiny_exp)).data_dir}/train2017"
