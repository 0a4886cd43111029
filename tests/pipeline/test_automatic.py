"""The recovery of the default command: its schedule and its learning rate come from the data."""

import json
import math
import shutil

import pytest

from yolox.cli.common import run
from yolox.cli.compress import main as prune_main
from yolox.compress.schedule import RATE, TAUGHT_RATE, automatic_options, duration
from yolox.engine import pace
from yolox.engine.pace import measured_pace
from yolox.engine.state import RunOptions
from yolox.exp import exp_of_checkpoint

UNTIL = ["--until", "recover"]


@pytest.fixture
def command(tmp_path, ckpt, synthetic_dir, monkeypatch):
    """The default command, two steps of which are timed."""
    monkeypatch.setattr(pace, "STEPS", 2)

    def call(*words, data=synthetic_dir):
        given = ["--ckpt", str(ckpt), "--out", str(tmp_path / "out"), "-b", "4", "--device", "cpu"]
        quick = ["--no-eval", "--backends", "none"]
        return run(prune_main, [*given, *quick, *words, "data_dir", str(data)])

    return call


def test_the_default_command_recovers_and_says_how_long_it_takes(command, trainer, ckpt, capsys):
    assert command(*UNTIL) == 0
    ((exp, options),) = trainer.calls
    assert exp.teacher == str(ckpt)
    assert exp.max_epoch == automatic_options(len(exp.get_dataset()), 4)["max_epoch"]
    assert exp.basic_lr_per_img * options.batch_size == pytest.approx(RATE)
    assert exp.guard
    said = capsys.readouterr().err
    assert f"in {exp.max_epoch} epochs of {len(exp.get_dataset())} images" in said
    assert "on cpu" in said


def test_a_recipe_that_says_how_long_leaves_the_rest_to_the_data(command, trainer, ckpt, tmp_path):
    recipe = tmp_path / "short.yaml"
    recipe.write_text("prune: {params: 0.6, criterion: l2}\nadapt:\nrecover: {max_epoch: 3}\n")
    assert command("--recipe", str(recipe), *UNTIL) == 0
    ((exp, options),) = trainer.calls
    assert exp.teacher == str(ckpt)
    assert exp.basic_lr_per_img * options.batch_size == pytest.approx(RATE)
    assert (exp.max_epoch, exp.warmup_epochs, exp.no_aug_epochs) == (3, 1, 1)


def test_what_a_user_types_comes_before_the_recipe_and_the_data(command, trainer, tmp_path):
    recipe = tmp_path / "long.yaml"
    recipe.write_text("prune: {params: 0.6, criterion: l2}\nadapt:\nrecover: {max_epoch: 30}\n")
    typed = ["basic_lr_per_img", "1e-6", "max_epoch", "4"]
    assert command("--recipe", str(recipe), *UNTIL, *typed) == 0
    ((exp, _),) = trainer.calls
    assert (exp.basic_lr_per_img, exp.max_epoch, exp.no_aug_epochs) == (1e-6, 4, 1)
    assert exp.optimizer == "adamw"


def test_it_can_be_left_out(command, trainer, tmp_path):
    recipe = tmp_path / "cut.yaml"
    recipe.write_text("prune: {params: 0.6, criterion: l2}\nadapt:\nrecover: {}\n")
    assert command("--recipe", str(recipe), "--no-recover", *UNTIL) == 0
    assert not trainer.calls
    assert not (tmp_path / "out" / "recovered.pth").exists()


def test_what_is_resumed_is_not_timed_again(command, trainer, tmp_path, capsys):
    recipe = tmp_path / "quick.yaml"
    recipe.write_text("prune: {params: 0.6, criterion: l2}\nadapt:\nrecover: {}\n")
    words = ["--recipe", str(recipe), *UNTIL]
    trainer.interrupted = True
    assert command(*words) == 1
    assert "epochs of" in capsys.readouterr().err
    trainer.interrupted = False
    assert command(*words) == 0
    assert trainer.calls[1][1].resume
    assert "epochs of" not in capsys.readouterr().err


def test_timing_some_steps_leaves_the_experiment_and_the_folder_as_they_were(
    ckpt, synthetic_dir, tmp_path, monkeypatch
):
    exp = exp_of_checkpoint(ckpt)
    exp.data_dir, exp.output_dir = str(synthetic_dir), str(tmp_path / "out")
    before = exp.options()
    taken = []
    monkeypatch.setattr(pace, "train_step", lambda run, batches: taken.append(next(batches)))
    found = measured_pace(exp, RunOptions(batch_size=2, ckpt=str(ckpt)))
    assert found.step_seconds > 0
    assert found.images == len(exp.get_dataset())
    assert found.steps == math.ceil(found.images / 2) * exp.max_epoch
    assert len(taken) == pace.STEPS
    assert exp.options() == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("images", "batch"), [(64, 16), (128, 16), (205, 8), (118_000, 64)])
def test_more_images_mean_more_steps_and_fewer_epochs(images, batch):
    options = automatic_options(images, batch)
    more = automatic_options(4 * images, batch)
    assert more["max_epoch"] <= options["max_epoch"]
    assert options["warmup_epochs"] + options["no_aug_epochs"] < options["max_epoch"]
    steps = [
        o["max_epoch"] * math.ceil(n / batch) for o, n in ((options, images), (more, 4 * images))
    ]
    assert steps[0] <= steps[1]


def test_without_labels_the_teacher_teaches_alone_and_more_slowly():
    labelled, taught = (automatic_options(100, 10, labelled=known) for known in (True, False))
    assert "label_weight" not in labelled
    assert taught["label_weight"] == 0
    assert taught["basic_lr_per_img"] * 10 == pytest.approx(TAUGHT_RATE)
    masked = automatic_options(100, 10, labelled=False, cut=False)
    assert masked["basic_lr_per_img"] < taught["basic_lr_per_img"] < labelled["basic_lr_per_img"]
    assert taught["max_epoch"] < labelled["max_epoch"]


@pytest.mark.parametrize(("count", "weight"), [(12, 1), (13, 0)])
def test_labels_count_where_at_least_as_many_images_have_some(
    command, trainer, tmp_path, synthetic_dir, count, weight
):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    first = sorted((synthetic_dir / "train2017").iterdir())[0]
    for number in range(count):
        shutil.copy(first, pictures / f"{number}{first.suffix}")
    recipe = tmp_path / "quick.yaml"
    recipe.write_text("prune: {params: 0.6, criterion: l2}\nadapt:\nrecover: {conf: 0.0}\n")
    words = ["--recipe", str(recipe), "--pictures", str(pictures)]
    assert command(*words, *UNTIL) == 0
    ((exp, _),) = trainer.calls
    assert exp.label_weight == weight


@pytest.mark.parametrize(
    ("teacher", "weight", "rate"), [("dense", 0, TAUGHT_RATE), ("null", 1, RATE)]
)
def test_boxes_of_pictures_are_labels_where_nobody_teaches(
    command, trainer, tmp_path, synthetic_dir, teacher, weight, rate
):
    recipe = tmp_path / "pictures.yaml"
    folder = synthetic_dir / "train2017"
    recipe.write_text(
        f"prune: {{params: 0.6, criterion: l2}}\nadapt:\n"
        f"recover: {{images: {folder}, labelled: false, conf: 0.0, teacher: {teacher}}}\n"
    )
    assert command("--recipe", str(recipe), *UNTIL, data="nowhere") == 0
    ((exp, options),) = trainer.calls
    assert exp.label_weight == weight
    assert exp.basic_lr_per_img * options.batch_size == pytest.approx(rate)


def test_durations_in_words():
    assert [duration(s) for s in (3.2, 700, 20_000)] == ["3 s", "12 min", "5.6 h"]


def test_a_frontier_has_a_folder_for_each_size_and_one_control(command, trainer, tmp_path, capsys):
    recipe = tmp_path / "quick.yaml"
    recipe.write_text("prune: {params: 0.5, criterion: l2}\nadapt:\nrecover: {max_epoch: 1}\n")
    words = ["--recipe", str(recipe), "--frontier", "0.5", "0.8", "--budget", "params"]
    words += ["--control"]
    assert command(*words) == 0
    out = tmp_path / "out"
    content = json.loads((out / "frontier.json").read_text())
    names = [point["name"] for point in content["points"]]
    assert names == ["dense", "control", "params 0.8", "params 0.5"]
    assert content["points"][3]["params"] <= 0.5 < content["points"][2]["params"] <= 0.8
    assert len(trainer.calls) == 3
    assert not (out / "params_0.5" / "control.pth").exists()
    assert "epochs of" not in capsys.readouterr().err  # how long it takes is the recipe's choice
    assert command(*words) == 0
    assert len(trainer.calls) == 3  # all of it was done before
    assert command("--frontier", "0.8", "--pick", "AP>=0.9*dense") == 2
    assert command("--pick", "AP>=0.9*dense") == 2
    assert command("--frontier", "0.8", "--pick", "best") == 2
