"""Signals to a run in one process (to jobs of several: `test_processes.py`)."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import yolox.engine.train as trainer
from tests.pipeline.runs import run_training
from yolox.engine.signals import StoppedInSetUp, stop_signals
from yolox.errors import YoloxError

ROOT = Path(__file__).resolve().parents[2]

IMPATIENT = """
import os, signal
from tiny import Exp as Tiny
class Exp(Tiny):
    def get_criterion(self):
        criterion = super().get_criterion()
        class Impatient(type(criterion)):
            def __call__(self, predictions, targets):
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
                return super().__call__(predictions, targets)
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
        [sys.executable, str(ROOT / "tools/train.py"), "-f", "impatient.py", "-b", "4",
         "-l", "none", "--device", "cpu"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
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
