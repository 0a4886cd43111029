"""The sensitivity command and the plans that are made of its curves."""

import json

import pytest

from tests.pipeline.runs import error_line
from yolox.cli.common import run
from yolox.cli.compress import main as prune_main
from yolox.cli.sensitivity import main as sensitivity_main
from yolox.engine import checkpoint

CPU = ("--device", "cpu")


def measure(ckpt, out, *words):
    words = ["--ckpt", str(ckpt), "--out", str(out), "--images", "2", *CPU, *words]
    return run(sensitivity_main, words)


@pytest.mark.parametrize("metric", ["loss", "error", "ap"])
def test_curves_are_measured_and_a_stopped_run_goes_on(ckpt, tmp_path, capsys, metric):
    exclude = ("backbone", "_convs") if metric == "ap" else ("backbone",)  # AP takes longest
    words = ("--metric", metric, "--exclude", *exclude, "--ratios", "0.5")
    assert measure(ckpt, tmp_path, *words) == 0
    said = capsys.readouterr().err
    path = tmp_path / "sensitivity.json"
    before = json.loads(path.read_text())
    names = list(before["groups"])
    assert f"{len(names)} of {len(names)} groups to measure" in said
    assert all(name in said for name in names)
    assert not any(name.startswith("backbone.backbone") for name in names)
    assert {p.name for p in tmp_path.glob("sensitivity.*")} == {
        "sensitivity.json",
        "sensitivity.csv",
        "sensitivity.png",
    }
    path.write_text(json.dumps({**before, "groups": dict(list(before["groups"].items())[1:])}))
    assert measure(ckpt, tmp_path, *words) == 0
    assert f"1 of {len(names)} groups to measure" in capsys.readouterr().err
    after = json.loads(path.read_text())["groups"]
    assert set(after) == set(names)
    assert after[names[0]]["losses"] == pytest.approx(before["groups"][names[0]]["losses"])
    assert measure(ckpt, tmp_path, *words[:-1], "0.25") == 0
    said = capsys.readouterr().err
    assert "other step: measured anew" in said
    assert f"{len(names)} of {len(names)} groups to measure" in said


def test_a_plan_takes_its_curves_from_the_file(ckpt, tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("prune: {params: 0.85, ranking: sensitivity, exclude: [backbone], images: 4}")
    words = ["--ckpt", str(ckpt), "--recipe", str(recipe), "--out", str(tmp_path / "out"), *CPU]
    assert run(prune_main, [*words, "--until", "plan"]) == 0
    curves = (tmp_path / "out" / "sensitivity.json").read_bytes()
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert plan["ranking"] == "sensitivity"
    assert {g["name"] for g in plan["groups"]} == set(json.loads(curves)["groups"])
    capsys.readouterr()
    assert run(prune_main, [*words, "--params", "0.9", "--until", "plan"]) == 0
    assert "(loss): 0 of" in capsys.readouterr().err
    assert (tmp_path / "out" / "sensitivity.json").read_bytes() == curves


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--ratios", "0.5", "1.5"], 2, "--ratios: '1.5' is not a number"),
        (["--metric", "mAP"], 2, "metric 'mAP' is none of loss, ap, error"),
        (["--calibration", "EMPTY"], 3, "holds no image"),
        (["--exclude", "backbone", "head"], 4, "are excluded"),
    ],
)
def test_what_cannot_be_done_is_said(ckpt, tmp_path, capsys, words, code, said):
    (tmp_path / "empty").mkdir()
    words = [str(tmp_path / "empty") if word == "EMPTY" else word for word in words]
    assert measure(ckpt, tmp_path / "out", *words) == code
    assert said in error_line(capsys)
    assert not (tmp_path / "out").exists()


def test_a_merged_checkpoint_has_no_groups(ckpt, tmp_path, capsys):
    merged = tmp_path / "merged.pth"
    checkpoint.save(merged, {**checkpoint.read(ckpt), "sparse": {}})
    assert measure(merged, tmp_path / "out") == 4
    assert "is merged already" in error_line(capsys)
