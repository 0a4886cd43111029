"""What a run leaves on the disk, whatever ends it."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import yolox.engine.train as trainer
from tests.pipeline.runs import error_line, run_training
from yolox.cli.common import run
from yolox.cli.train import main as train_main
from yolox.engine import checkpoint
from yolox.engine.saving import latest_path, older_latest, read_latest
from yolox.errors import DataError, ModelError, UsageError, YoloxError
from yolox.lock import locked

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out" / "tiny"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Counting operations takes longer than these trainings."""
    monkeypatch.setattr("yolox.engine.progress.complexity", lambda model, size: None)
    monkeypatch.setattr("yolox.engine.progress.describe", lambda size, size_hw: "")


def _step(path):
    return checkpoint.read(path)["state"]["step"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_kill_between_any_two_writes_loses_nothing(tiny_exp):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/pipeline/kills.py"), str(tiny_exp)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "8 kills, different: []\n"


def test_the_last_saves_stay_and_a_damaged_one_is_skipped(tiny_exp, folder, capsys):
    run_training(tiny_exp, max_epoch=2, keep_latest=3, save_interval=1)
    kept = [latest_path(folder), *older_latest(folder)]
    assert [path.name for path in kept] == [
        "latest_ckpt.pth",
        "latest_1_ckpt.pth",
        "latest_2_ckpt.pth",
    ]
    assert [_step(path) for path in kept] == [6, 5, 4]
    latest_path(folder).write_bytes(latest_path(folder).read_bytes()[:-500])
    losses, _ = run_training(tiny_exp, max_epoch=2, keep_latest=3, resume=True)
    assert len(losses) == 1
    assert "damaged" in (said := capsys.readouterr().err)
    assert "latest_1_ckpt.pth is taken instead" in said
    assert [_step(path) for path in kept] == [6, 5, 4]  # the damaged file was not kept


def test_another_runs_checkpoints_are_never_fallen_back_on(tiny_exp, folder):
    run_training(tiny_exp, max_epoch=1, save_interval=1)
    assert older_latest(folder)
    with pytest.raises(YoloxError, match="interrupted"):
        run_training(tiny_exp, max_epoch=2, stop_after=1)
    assert older_latest(folder) == []
    latest_path(folder).write_bytes(b"PK")
    with pytest.raises(ModelError, match="latest_ckpt"):
        read_latest(folder)


def test_a_lost_best_checkpoint_is_made_again(tiny_exp, folder, capsys):
    run_training(tiny_exp, max_epoch=1)
    (folder / "best_ckpt.pth").unlink()
    run_training(tiny_exp, max_epoch=2, resume=True)
    assert "no longer counts" in capsys.readouterr().err
    assert _step(folder / "best_ckpt.pth") == 6


@pytest.mark.parametrize("owner", ["model", "average", "optimiser"])
def test_weights_that_are_not_finite_replace_no_good_file(tiny_exp, folder, owner, monkeypatch):
    run_training(tiny_exp, max_epoch=1)
    before = {path.name: path.read_bytes() for path in folder.glob("*.pth")}
    step = trainer.train_step

    def poisoned(run, batches):
        losses = step(run, batches)
        if owner == "optimiser":
            state = next(iter(run.optimizer.state.values()))
            state["momentum_buffer"].view(-1)[0] = float("inf")
        else:
            model = run.model if owner == "model" else run.ema.model
            model.state_dict()["backbone.C3_p3.conv1.bn.running_var"][0] = float("nan")
        return losses

    monkeypatch.setattr(trainer, "train_step", poisoned)
    with pytest.raises(YoloxError, match=r"is not finite after step 4: nothing was saved"):
        run_training(tiny_exp, max_epoch=2, resume=True, save_interval=1)
    assert {path.name: path.read_bytes() for path in folder.glob("*.pth")} == before


def test_saves_in_minutes(tiny_exp, folder, capsys):
    command = ["-f", str(tiny_exp), "-b", "4", "--device", "cpu", "-l", "none"]
    options = ["max_epoch", "1", "keep_latest", "9"]
    assert run(train_main, [*command, "--save-every", "1e-9", *options]) == 0
    assert [_step(path) for path in older_latest(folder)] == [2, 1]
    capsys.readouterr()
    assert run(train_main, [*command, "--save-every", "-1", *options]) == 2
    assert "argument --save-every: '-1' is not a number from 0" in error_line(capsys)


def test_two_runs_never_share_a_folder(tiny_exp, folder):
    with locked(folder), pytest.raises(UsageError, match="in use by another run"):
        run_training(tiny_exp)
    assert not (folder / "train_log.txt").exists()


def test_leftovers_of_a_kill_are_cleared(tiny_exp, folder):
    folder.mkdir(parents=True)
    (folder / ".latest_ckpt.pth.123.partial").write_bytes(b"half")
    run_training(tiny_exp, max_epoch=1)
    assert not list(folder.glob(".*.partial"))


def test_a_file_size_limit_ends_in_one_line_and_leaves_the_old_file(tiny_exp, folder, capsys):
    command = ["-f", str(tiny_exp), "-b", "12", "--device", "cpu", "max_epoch", "1"]
    assert run(train_main, command) == 0
    old = latest_path(folder).read_bytes()
    capsys.readouterr()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        assert run(train_main, command) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot be written: File too large" in error_line(capsys)
    assert latest_path(folder).read_bytes() == old
    assert not list(folder.glob(".*.partial"))


def test_a_log_and_curves_that_cannot_be_written_end_alone(tiny_exp, folder, monkeypatch, capsys):
    opened = Path.open

    def refusing(self, mode="r", *args, **kwargs):
        if self.name == "train_log.txt" or "tfevents" in self.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refusing)
    _, result = run_training(tiny_exp, max_epoch=1, logger="tensorboard")
    said = capsys.readouterr().err
    assert said.count("No space left on device; the log ends there") == 1
    assert said.count("No space left on device; the curves end there") == 1
    assert "Traceback" not in said
    assert latest_path(result.folder).is_file()


def test_curves_can_be_read(tiny_exp, folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_training(tiny_exp, max_epoch=2, logger="tensorboard")
    found = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [event.step for event in found.Scalars("train/total_loss")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in found.Scalars("val/AP")] == [3, 6]


def test_a_read_only_disk_is_one_line(tiny_exp, folder, monkeypatch):
    run_training(tiny_exp, max_epoch=1)
    old = latest_path(folder).read_bytes()
    rename = Path.replace

    def refusing(self, target):
        if str(target).endswith(".pth"):
            raise OSError(errno.EROFS, "Read-only file system")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", refusing)
    with pytest.raises(YoloxError, match="cannot be written: Read-only file system") as caught:
        run_training(tiny_exp, max_epoch=2, resume=True)
    assert caught.value.exit_code == 1
    assert latest_path(folder).read_bytes() == old
    assert not list(folder.glob(".*.partial"))


@pytest.mark.parametrize("workers", [0, 1])
def test_data_that_vanishes_is_one_line(tiny_exp, folder, synthetic_dir, tmp_path, workers):
    data = tmp_path / "data"
    shutil.copytree(synthetic_dir, data)
    run_training(tiny_exp, max_epoch=1, data_dir=str(data))
    old = latest_path(folder).read_bytes()
    make = trainer.prepare

    def prepare(*args):
        run = make(*args)
        shutil.rmtree(data / "train2017")
        return run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "prepare", prepare)
        with pytest.raises(DataError, match=r"image .*train2017.*: cannot be read") as caught:
            run_training(
                tiny_exp, max_epoch=2, data_dir=str(data), resume=True, data_num_workers=workers
            )
    assert caught.value.exit_code == 3
    assert latest_path(folder).read_bytes() == old


def test_annotations_may_vanish_once_they_are_read(tiny_exp, synthetic_dir, tmp_path, monkeypatch):
    data = tmp_path / "data"
    shutil.copytree(synthetic_dir, data)

    def evaluate_epoch(run, curves):
        shutil.rmtree(data)
        return True

    monkeypatch.setattr(trainer, "evaluate_epoch", evaluate_epoch)
    _, result = run_training(tiny_exp, max_epoch=1, data_dir=str(data))
    manifest = json.loads((result.folder / "manifest.json").read_text())
    assert len(manifest["annotations"]) == 2
