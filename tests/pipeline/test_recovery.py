"""Recovery and control inside a compression run, with a trainer that is quick and does as told."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from tests.pipeline.runs import error_line
from yolox.cli.common import run
from yolox.cli.compress import main as prune_main
from yolox.compress import recover
from yolox.engine import checkpoint

RECIPE = (
    "prune: {params: 0.6, criterion: l2}\nadapt:\n"
    "recover: {max_epoch: 1, warmup_epochs: 0, teacher: TEACHER}\n"
)


@pytest.fixture
def data(tmp_path, synthetic_dir):
    """A copy of the data set that a test may change."""
    return Path(shutil.copytree(synthetic_dir, tmp_path / "data"))


@pytest.fixture
def command(tmp_path, ckpt, data, trainer):
    """Runs a compression with a recovery; keywords are options of the experiment."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("TEACHER", "dense"))

    def call(*words, **options):
        pairs = {"data_dir": data, **options}
        flat = [str(word) for pair in pairs.items() for word in pair]
        given = ["--ckpt", str(ckpt), "--recipe", str(recipe), "--out", str(tmp_path / "out")]
        return run(
            prune_main,
            [*given, "--no-eval", "--backends", "none", "--device", "cpu", *words, *flat],
        )

    call.recipe, call.out = recipe, tmp_path / "out"
    return call


def state(path):
    return checkpoint.read(path)["model"]


def test_a_recovery_that_harms_is_not_shipped(command, trainer):
    trainer.factor = -1.0
    assert command() == 0
    report = json.loads((command.out / "report.json").read_text())
    recovered = next(stage for stage in report["stages"] if stage["name"] == "recovered")
    assert "what came later was worse; before is kept" in recovered["note"]
    before, after = state(command.out / "pruned.pth"), state(command.out / "recovered.pth")
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_the_better_of_before_and_after_is_kept(command, trainer):
    trainer.factor = 1.0001
    assert command("--until", "recover") == 0
    key = "backbone.backbone.stem.conv.conv.weight"
    chosen = checkpoint.read(command.out / "recovered.pth")["chosen"]
    after = state(command.out / "recovered.pth")[key]
    wanted = {"before": "pruned.pth", "after": "recover/best_ckpt.pth"}[chosen["kept"]]
    assert set(chosen["scores"]) == {"before", "after"}
    assert chosen["scores"][chosen["kept"]] == max(chosen["scores"].values())
    assert torch.equal(after, state(command.out / wanted)[key])


def test_the_control_is_the_dense_model_under_the_same_recovery(command, trainer, ckpt):
    assert command("--control") == 0
    (tuned, first), (control, second) = trainer.calls
    assert first.ckpt.endswith("pruned.pth")
    assert Path(second.ckpt) == ckpt
    ignored = {"exp_name"}
    same = {k: v for k, v in tuned.options().items() if k not in ignored}
    assert same == {k: v for k, v in control.options().items() if k not in ignored}
    report = json.loads((command.out / "report.json").read_text())
    assert [stage["name"] for stage in report["stages"]][:2] == ["dense", "control"]
    assert report["stages"][1]["params"] == report["stages"][0]["params"]
    assert report["stages"][-1]["name"] == "merged"
    parents = {entry["name"]: entry["parent"] for entry in report["lineage"]}
    assert parents == {
        "dense": None,
        "pruned": "dense",
        "recovered": "pruned",
        "merged": "recovered",
        "control": "dense",
    }


def test_a_control_needs_a_recovery(command, capsys):
    command.recipe.write_text("prune: {params: 0.6, criterion: l2}\nadapt:\n")
    assert command("--control") == 2
    assert "--control" in error_line(capsys)


def replace_an_image(data):
    first, second = sorted((data / "train2017").iterdir())[:2]
    first.write_bytes(second.read_bytes())


def replace_labels(data):
    path = data / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"][2] -= 1
    path.write_text(json.dumps(content))


def replace_validation(data):
    path = data / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"].pop()
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("change", [replace_an_image, replace_labels, replace_validation])
def test_a_recovery_on_other_data_is_done_again(command, trainer, data, change, capsys):
    assert command("--until", "recover") == 0
    assert command("--until", "recover") == 0
    assert len(trainer.calls) == 1
    change(data)
    assert command("--until", "recover") == 0
    assert len(trainer.calls) == 2
    assert "prune: done before" in capsys.readouterr().err  # it looked at no data


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ({"data_num_workers": 1, "print_interval": 7, "output_dir": "elsewhere"}, 1),
        ({"basic_lr_per_img": 0.0005}, 2),
        ({"flip_prob": 0.25}, 2),
    ],
)
def test_only_options_that_change_the_result_repeat_a_recovery(command, trainer, options, calls):
    assert command("--until", "recover") == 0
    assert command("--until", "recover", **options) == 0
    assert len(trainer.calls) == calls


def test_other_recipe_or_teacher_repeats_a_recovery(command, trainer, ckpt, tmp_path):
    teacher = tmp_path / "teacher.pth"
    teacher.write_bytes(ckpt.read_bytes())
    text = RECIPE.replace("TEACHER", str(teacher))
    command.recipe.write_text(text)
    assert command("--until", "recover") == 0
    command.recipe.write_text(text.replace("max_epoch: 1", "max_epoch: 2"))
    assert command("--until", "recover") == 0
    assert len(trainer.calls) == 2
    content = checkpoint.read(teacher)
    content["model"] = {key: value * 2 for key, value in content["model"].items()}
    checkpoint.save(teacher, content)
    assert command("--until", "recover") == 0
    assert len(trainer.calls) == 3
    assert command("--until", "recover", "-b", "4") == 0
    assert len(trainer.calls) == 4


def test_an_interrupted_recovery_goes_on_though_workers_change(command, trainer):
    trainer.interrupted = True
    assert command("--until", "recover") == 1
    trainer.interrupted = False
    assert command("--until", "recover", data_num_workers=1, print_interval=3) == 0
    assert [options.resume for _, options in trainer.calls] == [False, True]


def test_an_abandoned_try_is_moved_aside(command, trainer):
    trainer.interrupted = True
    assert command("--until", "recover") == 1
    latest = (command.out / "recover" / "latest_ckpt.pth").read_bytes()
    trainer.interrupted = False
    assert command("--until", "recover", basic_lr_per_img=0.0005) == 0
    assert [options.resume for _, options in trainer.calls] == [False, False]
    assert (command.out / "recover.1" / "latest_ckpt.pth").read_bytes() == latest
    assert command("--until", "recover", "--from", "recover") == 0
    assert (command.out / "recover.2" / "best_ckpt.pth").is_file()


def test_a_touched_file_is_no_other_file(command, trainer, data):
    assert command("--until", "recover") == 0
    for path in (data / "train2017").iterdir():
        os.utime(path, (1, 1))
    assert command("--until", "recover") == 0
    assert len(trainer.calls) == 1


def test_the_best_checkpoint_is_taken_not_the_last(command, trainer, monkeypatch):
    def worse_at_the_end(exp, options):
        result = trainer(exp, options)
        last = checkpoint.read(result.folder / "latest_ckpt.pth")
        last["model"] = {key: value * 0 for key, value in last["model"].items()}
        checkpoint.save(result.folder / "latest_ckpt.pth", last)
        return result

    trainer.factor = 1.0001
    monkeypatch.setattr(recover, "train", worse_at_the_end)
    assert command("--until", "recover") == 0
    key = "backbone.backbone.stem.conv.conv.weight"
    assert state(command.out / "recovered.pth")[key].abs().sum() > 0


def test_other_images_to_judge_by_repeat_a_recovery(command, trainer, data, tmp_path):
    folder = Path(shutil.copytree(data / "val2017", tmp_path / "calibration"))
    assert command("--calibration", str(folder), "--until", "recover") == 0
    first, second = sorted(folder.iterdir())[:2]
    first.write_bytes(second.read_bytes())
    assert command("--calibration", str(folder), "--until", "recover") == 0
    assert len(trainer.calls) == 2
