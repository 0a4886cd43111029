"""Compression from end to end: prune, train, resume, prune again, merge, evaluate."""

import json
import shutil
from contextlib import contextmanager

import pytest
import torch

from tests.pipeline.runs import error_line, run_training
from yolox.cli.adapt import main as adapt_main
from yolox.cli.common import run
from yolox.cli.compress import main as prune_main
from yolox.cli.eval import main as eval_main
from yolox.cli.mask import main as mask_main
from yolox.cli.report import main as report_main
from yolox.cli.train import main as train_main
from yolox.compress import latency, recover
from yolox.compress import plan as planning
from yolox.engine import checkpoint
from yolox.engine.restore import restore
from yolox.exp import exp_of_checkpoint, get_exp
from yolox.models.complexity import count_parameters

CPU = ("--device", "cpu")
QUICK = ("--no-eval", "--backends", "none")


@pytest.fixture
def recipe(tmp_path):
    """Masks and channels, with new statistics, tuned with the dense model as the teacher."""
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "mask: {share: 0.4, criterion: layer}\n"
        "prune: {params: 0.6, round_to: 2, criterion: l2}\n"
        "adapt: {images: 4, least_squares: false, recalibrate: true}\n"
        "recover: {max_epoch: 1, warmup_epochs: 0, teacher: dense, distill_features: 0.5}\n"
    )
    return str(path)


def parameters(path):
    return count_parameters(restore(path).model)


def test_prune_train_resume_prune_again_merge_evaluate(tiny_exp, ckpt, tmp_path, recipe, out_dir):
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

    words = ["--recipe", recipe, "--out", str(second), "--no-recover", "--calibration", out_dir]
    assert run(prune_main, ["--ckpt", str(tuned), *words, *QUICK, *CPU]) == 0
    merged = second / "merged.pth"
    assert parameters(second / "pruned.pth") < 0.62 * parameters(tuned)
    found = tmp_path / "eval.json"
    assert run(eval_main, [*CPU, "-c", str(merged), "-b", "4", "--json", str(found)]) == 0
    assert json.loads(found.read_text())["params"] == parameters(merged)
    words = ["-f", str(tiny_exp), "-b", "4", "-c", str(merged)]
    assert run(train_main, [*CPU, *words]) == 4


def test_stages_can_be_the_last_and_the_run_ends_the_same(ckpt, tmp_path, recipe, trainer):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    common = ["--ckpt", str(ckpt), "--recipe", recipe, "-b", "4", *QUICK, *CPU]
    assert run(prune_main, [*common, "--out", str(whole)]) == 0
    for stage in ("adapt", "evaluate"):
        assert run(prune_main, [*common, "--out", str(parts), "--until", stage]) == 0
    assert len(trainer.calls) == 2
    merged = [restore(folder / "merged.pth").model for folder in (whole, parts)]
    for key, value in merged[0].state_dict().items():
        assert torch.equal(value, merged[1].state_dict()[key]), key
    reports = [json.loads((folder / "report.json").read_text()) for folder in (whole, parts)]
    assert [s["name"] for s in reports[0]["stages"]] == [s["name"] for s in reports[1]["stages"]]
    assert [s["nonzero_params"] for s in reports[0]["stages"]] == [
        s["nonzero_params"] for s in reports[1]["stages"]
    ]


def test_what_is_done_is_kept_and_what_changed_is_done_again(ckpt, tmp_path, capsys):
    recipe = tmp_path / "cut.yaml"
    recipe.write_text("prune: {params: 0.6, criterion: l2}\n")
    common = ["--ckpt", str(ckpt), "--out", str(tmp_path / "out"), "--recipe", str(recipe)]
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


class SteadyWatch:
    """A stopwatch for which a model takes a millisecond for each thousand parameters, and at
    least `floor` of the dense one's time.
    """

    floor = 0.0

    def __init__(self, dense, info, step, size_hw, device):
        self.dense_ms = count_parameters(dense) / 1000

    @contextmanager
    def against_dense(self, model):
        own = max(count_parameters(model) / 1000, self.floor * self.dense_ms)
        yield lambda: (self.dense_ms, own)

    def close(self):
        pass


@pytest.fixture
def plan_of(ckpt, tmp_path, out_dir, monkeypatch):
    """Runs the plan stage with a budget; gives the exit code and where its plan would be."""
    monkeypatch.setattr(planning, "Stopwatch", SteadyWatch)

    def plan(*budget):
        words = ["--ckpt", str(ckpt), "--out", str(tmp_path / "out"), "--calibration", out_dir]
        return run(prune_main, [*words, "--until", "plan", *CPU, *budget])

    return plan, tmp_path / "out" / "plan.json"


def test_a_latency_budget_is_met(plan_of, ckpt):
    plan, path = plan_of
    assert plan("--latency", "0.7") == 0
    content = json.loads(path.read_text())
    assert content["budget"] == {"latency": 0.7}
    assert content["measured"]["ratio"] == pytest.approx(0.7, rel=0.05)
    assert content["params_left"] == pytest.approx(content["measured"]["ratio"], abs=0.01)
    assert content["measured"]["dense_ms"] == pytest.approx(parameters(ckpt) / 1000)
    assert content["measured"]["ms"] == pytest.approx(content["params"] / 1000, rel=0.01)


def test_a_latency_budget_that_is_missed_is_said(plan_of, monkeypatch, capsys):
    plan, path = plan_of
    monkeypatch.setattr(planning, "plan_for_latency", off_by_a_tenth)
    assert plan("--latency", "0.7") == 1
    assert "the latency budget was not met: latency 0.770 was reached, 0.7" in error_line(capsys)
    assert not path.exists()


def off_by_a_tenth(planner, model, watch, step):
    plan = planner.plan(
        planner.least_cut(lambda n: planner.cost(n).macs < 0.8 * planner.dense.macs)
    )
    return latency.TimedPlan(plan, 77.0, 100.0)


def test_a_latency_budget_below_what_there_is(plan_of, monkeypatch, capsys):
    plan, path = plan_of
    monkeypatch.setattr(SteadyWatch, "floor", 0.8)
    assert plan("--latency", "0.7") == 2
    assert "0.800 of dense, is the smallest" in error_line(capsys)
    assert not path.exists()


def masks_of(path):
    return checkpoint.read(path)["masks"]


def test_masks_outlive_pruning_and_masking_again(ckpt, tmp_path, out_dir):
    def command(main, source, out, *words):
        words = ["--ckpt", str(source), "--out", str(tmp_path / out), *words, *CPU]
        assert run(main, [*words, "--calibration", out_dir]) == 0

    command(mask_main, ckpt, "all", "--criterion", "layer", "--nonzero", "0.6", "--exclude")
    first = tmp_path / "all" / "mask.pth"
    command(mask_main, first, "again", "--criterion", "layer", "--nonzero", "0.7")
    again = masks_of(tmp_path / "again" / "mask.pth")
    for name, mask in masks_of(first).items():
        assert not again[name][~mask].any(), name
    recipe = tmp_path / "cut.yaml"
    recipe.write_text("prune: {params: 0.6, criterion: mask}\nadapt: {images: 4}\n")
    command(prune_main, first, "cut", "--recipe", str(recipe), *QUICK)
    content = checkpoint.read(tmp_path / "cut" / "adapted.pth")
    assert content["masks"].keys() == masks_of(first).keys()
    for name, mask in content["masks"].items():
        assert not content["model"][name][~mask].any(), name
        assert mask.float().mean() < 0.95, name


def test_masks_and_channels_without_adaptation(ckpt, tmp_path, out_dir):
    recipe, out = tmp_path / "both.yaml", tmp_path / "both"
    recipe.write_text(
        "mask: {share: 0.4, criterion: layer}\nprune: {params: 0.6, criterion: l2}\nadapt:\n"
    )
    words = ["--ckpt", str(ckpt), "--recipe", str(recipe), "--out", str(out), *QUICK, *CPU]
    assert run(prune_main, [*words, "--calibration", out_dir]) == 0
    _, masked, pruned, merged = json.loads((out / "report.json").read_text())["stages"]
    assert [masked["made_from"], pruned["made_from"]] == ["dense", "masked"]
    assert pruned["params"] < 0.62 * masked["params"]
    assert pruned["nonzero_params"] < 0.85 * pruned["params"]
    assert merged["nonzero_params"] == pruned["nonzero_params"]


def tuned(ckpt, recipe, out, *words):
    """The exit code of a compression that ends with its recovery."""
    given = ["--ckpt", str(ckpt), "--recipe", str(recipe), "--out", str(out), "-b", "4", *words]
    return run(prune_main, [*given, "--until", "recover", *QUICK, *CPU])


@pytest.fixture
def tuning(tmp_path):
    """Channels, tuned for an epoch with the dense model as the teacher."""
    path = tmp_path / "tune.yaml"
    path.write_text(
        "prune: {params: 0.5, criterion: l2}\nadapt:\n"
        "recover: {max_epoch: 1, warmup_epochs: 0, teacher: dense, distill_features: 0.5}\n"
    )
    return path


def test_a_recovery_does_not_take_up_another_ones(ckpt, tmp_path, tuning, trainer, monkeypatch):
    out = tmp_path / "out"
    assert tuned(ckpt, tuning, out) == 0
    with monkeypatch.context() as patch:
        patch.setattr(recover, "train", lambda exp, options: 1 / 0)
        assert tuned(ckpt, tuning, out, "--params", "0.8") == 1
    assert tuned(ckpt, tuning, out, "--params", "0.8") == 0
    recovered = out / "recovered.pth"
    assert parameters(recovered) == parameters(out / "pruned.pth") > 0.7 * parameters(ckpt)


def test_a_recovered_model_is_the_teacher_of_a_smaller_one(ckpt, tmp_path, tuning):
    first, again = tmp_path / "first", tmp_path / "again"
    assert tuned(ckpt, tuning, first, "--params", "0.8") == 0
    recovered = first / "recovered.pth"
    exp, dense = exp_of_checkpoint(recovered), exp_of_checkpoint(ckpt)
    other_place = {"exp_name": dense.exp_name}  # the name of the file that is asked
    assert {**exp.options(), **other_place} == dense.options()  # no trace of the fine-tune
    assert tuned(recovered, tuning, again, "--params", "0.7") == 0
    assert parameters(again / "recovered.pth") < 0.75 * parameters(recovered)


@pytest.mark.slow
def test_a_checkpoint_is_known_by_its_content_whatever_its_name(ckpt, tmp_path, capsys, out_dir):
    source = tmp_path / "model.weights"
    source.write_bytes(ckpt.read_bytes())
    words = ["--ckpt", str(source), "--out", str(tmp_path / "out"), "--calibration", out_dir]
    words += ["--params", "0.7", "--no-recover", *QUICK, *CPU]
    assert run(prune_main, words) == 0
    stages = json.loads((tmp_path / "out" / "report.json").read_text())["stages"]
    assert stages[0]["name"] == "dense"
    content = checkpoint.read(ckpt)
    noisy = {
        key: value * 1.01 if value.is_floating_point() else value
        for key, value in content["model"].items()
    }
    checkpoint.save(source, {**content, "model": noisy})
    capsys.readouterr()
    assert run(prune_main, words) == 0
    assert "done before" not in capsys.readouterr().err


def test_other_data_is_noticed(ckpt, tmp_path, capsys, out_dir):
    images = tmp_path / "images"
    shutil.copytree(out_dir, images)
    recipe = tmp_path / "random.yaml"
    recipe.write_text(
        "prune: {params: 0.7, criterion: random}\n"
        "adapt: {images: 4, least_squares: false, recalibrate: true}\n"
    )
    words = ["--ckpt", str(ckpt), "--recipe", str(recipe), "--out", str(tmp_path / "out")]
    words += ["--calibration", str(images), "--until", "adapt", *CPU]
    assert run(prune_main, words) == 0
    assert run(prune_main, words) == 0
    assert "adapt: done before" in capsys.readouterr().err
    next(images.glob("*.*")).unlink()
    assert run(prune_main, words) == 0
    assert "adapt: done before" not in capsys.readouterr().err
    assert run(prune_main, [*words, "seed", "7"]) == 0
    assert "plan: done before" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--until", "mask"], "the recipe has none of the stages up to there"),
        (["--from", "merge", "--until", "plan"], "--from merge comes after --until plan"),
        (["--resamples", "-5"], "--resamples: -5 is less than 0"),
        (["--recipe", "prune: {1: 2}"], "unknown key 1"),
        (["--recipe", "mask: {criterion: 5}"], "criterion 5 is not text"),
        (["--recipe", "prune: {params: 0.5}\nrecover: {5: 3, max_epoch: 1}"], "unknown option 5"),
    ],
)
def test_what_makes_no_sense_is_refused(ckpt, tmp_path, capsys, words, said):
    if words[0] == "--recipe":
        path = tmp_path / "recipe.yaml"
        path.write_text(words[1])
        words = ["--recipe", str(path)]
    out = tmp_path / "out"
    assert run(prune_main, ["--ckpt", str(ckpt), "--out", str(out), *QUICK, *CPU, *words]) == 2
    assert said in error_line(capsys)
    assert not out.exists()


def test_the_input_is_not_overwritten(ckpt, tmp_path, capsys):
    out = tmp_path / "out"
    source = out / "adapted.pth"
    out.mkdir()
    source.write_bytes(ckpt.read_bytes())
    words = ["--ckpt", str(source), "--out", str(out), *CPU]
    for command in (
        [*words, "--params", "0.5", *QUICK],
        [*words, "--recipe", "configs/half_params.yaml"],
    ):
        assert run(prune_main, command) == 2
        assert "would be overwritten by the adapt stage" in error_line(capsys)
    assert run(adapt_main, [*words, "--dense", str(ckpt)]) == 2
    assert "would be overwritten" in error_line(capsys)
    assert source.read_bytes() == ckpt.read_bytes()


def test_a_report_that_is_none(tmp_path, capsys):
    path = tmp_path / "report.json"
    path.write_text("{}")
    assert run(report_main, [str(path)]) == 3
    assert "is not a compression report" in error_line(capsys)


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
    assert "channels is not lists" in error_line(capsys)
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
