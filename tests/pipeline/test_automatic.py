"""The recovery of the default command: its schedule and its learning rate come from the data."""

import json
import math

import pytest

from yolox.cli.common import run
from yolox.cli.compress import main as prune_main
from yolox.compress import schedule
from yolox.compress.schedule import RATES, automatic_options, best_rate, duration
from yolox.engine.rate import Probe, probe_rates
from yolox.engine.state import RunOptions
from yolox.exp import exp_of_checkpoint


@pytest.fixture
def command(tmp_path, ckpt, synthetic_dir, monkeypatch):
    """The default command, with two rates to try."""
    monkeypatch.setattr(schedule, "RATES", RATES[:2])
    monkeypatch.setattr(schedule, "TRIED_STEPS", 2)

    def call(*words):
        given = ["--ckpt", str(ckpt), "--out", str(tmp_path / "out"), "-b", "4", "--device", "cpu"]
        quick = ["--no-eval", "--backends", "none"]
        return run(prune_main, [*given, *quick, *words, "data_dir", str(synthetic_dir)])

    return call


def test_the_default_command_recovers_and_says_how_long_it_takes(command, trainer, ckpt, capsys):
    assert command() == 0
    ((exp, options),) = trainer.calls
    assert exp.teacher == str(ckpt)
    assert exp.max_epoch == automatic_options(len(exp.get_dataset()), 4)["max_epoch"]
    assert exp.basic_lr_per_img * options.batch_size in [pytest.approx(r) for r in RATES[:2]]
    said = capsys.readouterr().err
    assert f"in {exp.max_epoch} epochs of {len(exp.get_dataset())} images" in said
    assert "on cpu" in said


def test_it_can_be_left_out(command, trainer, tmp_path):
    assert command("--no-recover", "--until", "recover") == 0
    assert not trainer.calls
    assert not (tmp_path / "out" / "recovered.pth").exists()


def test_an_interrupted_recovery_keeps_its_rate(command, trainer, monkeypatch):
    trainer.interrupted = True
    assert command() == 1
    trainer.interrupted = False
    monkeypatch.setattr(schedule, "probe_rates", lambda *_: 1 / 0)
    assert command() == 0
    (first, _), (second, options) = trainer.calls
    assert options.resume
    assert second.basic_lr_per_img == first.basic_lr_per_img


@pytest.mark.slow
def test_the_control_finds_a_rate_of_its_own(command, trainer, tmp_path):
    assert command("--control") == 0
    rates = [
        json.loads((tmp_path / "out" / f / "rate.json").read_text()) for f in ("recover", "control")
    ]
    assert [exp.basic_lr_per_img for exp, _ in trainer.calls] == [
        found["basic_lr_per_img"] for found in rates
    ]


def test_rates_begin_at_the_same_weights_and_end_where_one_spoils_the_model(ckpt, synthetic_dir):
    exp = exp_of_checkpoint(ckpt)
    exp.data_dir = str(synthetic_dir)
    before = exp.options()
    norms = []

    def score(model):
        norms.append(sum(float(p.detach().abs().sum()) for p in model.parameters()))
        return -norms[-1] if math.isfinite(norms[-1]) else math.nan

    options = RunOptions(batch_size=2, ckpt=str(ckpt))
    found = probe_rates(exp, options, (0.0, 1e-3, 1e30, 1e31), 3, score)
    assert exp.options() == before
    assert found.scores[0.0] == pytest.approx(found.start)
    assert found.scores[1e-3] != pytest.approx(found.start, rel=1e-9)
    assert found.scores[1e30] == -math.inf
    assert 1e31 not in found.scores
    assert found.seconds > 0


def test_the_best_rate_wins_the_lowest_of_equal_ones():
    assert best_rate(Probe({1e-3: -2.0, 1e-4: -2.0, 1e-2: -math.inf}, -1.0, 1.0)) == 1e-4
    assert best_rate(Probe({1e-4: -2.0, 1e-3: -1.5}, -1.0, 1.0)) == 1e-3


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
    capsys.readouterr()
    assert command(*words) == 0
    assert len(trainer.calls) == 3  # all of it was done before
    assert command("--frontier", "0.8", "--pick", "AP>=0.9*dense") == 2
    assert command("--pick", "AP>=0.9*dense") == 2
    assert command("--frontier", "0.8", "--pick", "best") == 2
