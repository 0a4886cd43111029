"""Signals to a run in one process (to jobs of several: `test_processes.py`)."""

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

import yolox.engine.train as trainer
from tests.pipeline.runs import run_training, train_words
from yolox.engine import checkpoint
from yolox.engine.signals import StoppedInSetUp, stop_signals
from yolox.errors import YoloxError

IMPATIENT = """
import os, signal
from tiny import Exp as Tiny
class Exp(Tiny):
    def get_criterion(self):
        criterion = super().get_criterion()
        class Impatient(type(criterion)):
            def __call__(self, predictions, targets, **phase):
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
                return super().__call__(predictions, targets, **phase)
        criterion.__class__ = Impatient
        return criterion
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_saves_and_a_second_one_is_not_caught(name, capfd):
    number = signal.Signals[name]
    before = signal.getsignal(number)
    with stop_signals() as stop:
        stop.in_set_up = False
        os.kill(os.getpid(), number)
        assert stop.is_set
        assert signal.getsignal(number) is signal.SIG_DFL
    assert signal.getsignal(number) is before
    assert f"{name}: saves after this step and stops; a second" in capfd.readouterr().err


def test_ignored_signals_stay_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stop_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.is_set
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_in_set_up_says_that_nothing_is_lost(tiny_exp, tmp_path, monkeypatch):
    with pytest.raises(StoppedInSetUp), stop_signals():
        os.kill(os.getpid(), signal.SIGHUP)

    class Interrupted:
        def __init__(self, *args):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(trainer, "ResizedImages", Interrupted)  # while images are being cached
    with pytest.raises(YoloxError, match="stopped by SIGTERM before the first step: nothing was"):
        run_training(tiny_exp)
    assert not list(tmp_path.glob("out/tiny/*.pth"))


def test_a_second_signal_stops_at_once_unsaved(tiny_exp, tmp_path):
    (tmp_path / "impatient.py").write_text(IMPATIENT)
    done = subprocess.run(
        [sys.executable, *train_words("impatient.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGINT
    assert "a second signal stops at once, unsaved" in done.stderr
    assert not list(tmp_path.glob("out/*/latest_ckpt.pth"))


def test_nobody_leaves_before_the_checkpoint_is_written(monkeypatch):
    done: list[str] = []
    monkeypatch.setattr(trainer, "average_statistics", lambda run: done.append("averaged"))
    monkeypatch.setattr(trainer, "_save", lambda run, loop: done.append("saved"))
    monkeypatch.setattr(trainer.dist, "barrier", lambda: done.append("all are here"))
    run = SimpleNamespace(
        is_done=False, saved_step=2, step=3, options=SimpleNamespace(device="cpu")
    )
    loop = SimpleNamespace(stop=SimpleNamespace(is_set=True))
    with pytest.raises(YoloxError, match="interrupted after step 3"):
        trainer._stop_or_save(run, loop)
    assert done == ["averaged", "saved", "all are here"]


def _evaluations(monkeypatch, signal_in=None):
    """Epochs that are evaluated; the handler of SIGTERM is called in the one of that number."""
    seen, evaluate = [], trainer.evaluate_epoch

    def observed(run, curves):
        seen.append(run.epoch)
        if run.epoch == signal_in:
            signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)
        return evaluate(run, curves)

    monkeypatch.setattr(trainer, "evaluate_epoch", observed)
    return seen


def _results(folder):
    contents = [checkpoint.read(folder / f"{name}_ckpt.pth") for name in ("best", "latest")]
    return [(c["state"]["step"], c["best_ap"], c["curr_ap"]) for c in contents]


def test_a_signal_before_an_evaluation_stops_there_and_it_is_made_up_for(
    tiny_exp, tmp_path, monkeypatch
):
    run_training(tiny_exp, name="whole")
    seen = _evaluations(monkeypatch)
    with pytest.raises(YoloxError, match="interrupted after step 3; continue with --resume"):
        run_training(tiny_exp, name="cut", stop_after=3)
    assert seen == []
    run_training(tiny_exp, name="cut", resume=True)
    assert seen == [1, 2]
    assert _results(tmp_path / "out" / "cut") == _results(tmp_path / "out" / "whole")


def test_a_run_that_is_killed_in_an_evaluation_begins_there(tiny_exp, tmp_path, monkeypatch):
    run_training(tiny_exp, name="whole")

    def killed(run, curves):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "evaluate_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            run_training(tiny_exp, name="cut")
    losses, _ = run_training(tiny_exp, name="cut", resume=True)
    assert len(losses) == 3  # the second epoch
    assert _results(tmp_path / "out" / "cut") == _results(tmp_path / "out" / "whole")


def test_a_signal_in_the_last_evaluation_ends_what_would_follow(tiny_exp, tmp_path, monkeypatch):
    seen = _evaluations(monkeypatch, signal_in=2)
    with pytest.raises(YoloxError, match="interrupted when training was done"):
        run_training(tiny_exp)
    assert seen == [1, 2]
    assert json.loads((tmp_path / "out/tiny/manifest.json").read_text())["finished"] is True


def test_a_signal_before_the_report_on_other_images_is_made_up_for(tiny_exp, tmp_path, monkeypatch):
    _evaluations(monkeypatch, signal_in=2)
    with pytest.raises(YoloxError, match="interrupted after the last step; continue with --resume"):
        run_training(tiny_exp, select_share=0.25)
    assert json.loads((tmp_path / "out/tiny/manifest.json").read_text())["finished"] is False
    losses, result = run_training(tiny_exp, select_share=0.25, resume=True)
    assert losses == []
    assert result.report_ap is not None
