"""Tries of a torchrun job go on where its own tries have saved, and nowhere else."""

import pytest

from tests.pipeline.runs import run_training
from yolox.engine import restart
from yolox.engine.restart import after_restart, job_name
from yolox.engine.state import RunOptions
from yolox.errors import YoloxError


def job(monkeypatch, attempt, name="none", machines=1):
    """The environment that torchrun sets."""
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(attempt))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", name)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    monkeypatch.setenv("WORLD_SIZE", str(machines))


def agent(monkeypatch, number):
    """Another process as the parent."""
    monkeypatch.setattr(restart.os, "getppid", lambda: number)


def test_a_restart_goes_on_from_its_own_job_only(tiny_exp, tmp_path, monkeypatch):
    folder, asked = tmp_path / "out" / "tiny", RunOptions(ckpt="start.pth")
    job(monkeypatch, 1)
    assert after_restart(asked, folder) == asked  # nothing was saved
    job(monkeypatch, 0)
    with pytest.raises(YoloxError, match="interrupted"):
        run_training(tiny_exp, stop_after=1)
    assert after_restart(asked, folder) == asked  # the first try of a job begins anew
    job(monkeypatch, 1)
    found = after_restart(asked, folder)
    assert (found.resume, found.ckpt) == (True, None)
    agent(monkeypatch, 1)  # a later job, whose first try has died before it wrote anything
    assert after_restart(asked, folder) == asked


def test_a_run_without_torchrun_is_no_try_of_a_job(tiny_exp, tmp_path, monkeypatch):
    run_training(tiny_exp, max_epoch=1)
    job(monkeypatch, 1)
    assert not after_restart(RunOptions(), tmp_path / "out" / "tiny").resume


def test_on_several_machines_the_id_names_the_job(monkeypatch):
    job(monkeypatch, 0, name="a", machines=2)
    first = job_name()
    agent(monkeypatch, 1)  # rank 0 may start elsewhere
    assert job_name() == first
    job(monkeypatch, 0, name="b", machines=2)
    assert job_name() != first


def test_an_agent_with_the_number_of_a_former_one_is_another(monkeypatch):
    job(monkeypatch, 0)
    first = job_name()
    monkeypatch.setattr(restart, "STARTED", restart.STARTED - 1)  # as if begun at another time
    assert job_name() != first
