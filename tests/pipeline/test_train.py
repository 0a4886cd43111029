"""Training from end to end on a few small images: artefacts, resuming, masks, failures."""

import json
import math

import pytest
import torch

from tests.pipeline.runs import run_training
from yolox.compress.importance.weights import magnitude
from yolox.compress.mask import make_masks, maskable_weights
from yolox.engine import checkpoint
from yolox.engine.masks import apply_masks
from yolox.engine.restore import restore
from yolox.errors import ModelError, UsageError, YoloxError
from yolox.files import file_hash


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_a_run_leaves_its_artefacts(tiny_exp, out):
    losses, result = run_training(tiny_exp, logger="tensorboard")
    assert len(losses) == 6
    assert all(math.isfinite(loss) for loss in losses)
    names = {path.name for path in result.folder.iterdir()}
    assert {
        "latest_ckpt.pth",
        "last_epoch_ckpt.pth",
        "best_ckpt.pth",
        "epoch_1_ckpt.pth",
        "epoch_2_ckpt.pth",
        "train_log.txt",
        "manifest.json",
        "tensorboard",
    } <= names
    content = checkpoint.read(result.folder / "latest_ckpt.pth")
    assert content["start_epoch"] == 2
    assert {"model", "optimizer", "best_ap", "curr_ap", "spec", "masks", "state"} <= set(content)
    manifest = json.loads((result.folder / "manifest.json").read_text())
    assert manifest["finished"] is True
    assert manifest["step"] == 6
    log = (result.folder / "train_log.txt").read_text()
    assert "epoch 2/2, step 3/3" in log
    assert "GFLOPs at 64 x 96 (thop, 2 x MACs)" in log


@pytest.mark.parametrize(("stop_after", "precision"), [(2, "fp32"), (5, "bf16")])
def test_resumed_losses_equal_uninterrupted_ones(tiny_exp, stop_after, precision):
    asked = {"max_epoch": 3, "precision": precision}
    whole, _ = run_training(tiny_exp, name="whole", **asked)
    with pytest.raises(YoloxError, match=f"interrupted after step {stop_after}; .*--resume"):
        run_training(tiny_exp, name="cut", stop_after=stop_after, **asked)
    rest, result = run_training(tiny_exp, name="cut", resume=True, **asked)
    assert rest == whole[stop_after:]
    one = checkpoint.read(result.folder / "latest_ckpt.pth")
    other = checkpoint.read(result.folder.parent / "whole" / "latest_ckpt.pth")
    assert all(torch.equal(value, other["model"][key]) for key, value in one["model"].items())


def test_workers_do_not_change_the_data(tiny_exp):
    alone, _ = run_training(tiny_exp, name="alone", max_epoch=1)
    helped, _ = run_training(tiny_exp, name="helped", max_epoch=1, data_num_workers=2)
    assert alone == helped


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_a_cache_does_not_change_the_data(tiny_exp, tmp_path, synthetic_dir, cache):
    import shutil

    copy = tmp_path / "data"
    shutil.copytree(synthetic_dir, copy)
    plain, _ = run_training(tiny_exp, name="plain", max_epoch=1, data_dir=str(copy))
    cached, _ = run_training(tiny_exp, name="cached", max_epoch=1, data_dir=str(copy), cache=cache)
    assert plain == cached


def test_accumulation_and_early_stop(tiny_exp):
    losses, result = run_training(
        tiny_exp, accumulate=2, max_epoch=6, patience=2, basic_lr_per_img=1e-9, warmup_epochs=0
    )
    assert len(losses) % 6 == 0  # two rounds in each of three steps
    assert len(losses) == 3 * 6  # the first evaluation is a gain, the next two are not
    assert result.best_ap == 0.0  # nothing is found yet, which is better than nothing measured


def test_masks_hold_through_training_average_and_resume(tiny_exp, out):
    _, result = run_training(tiny_exp, name="dense", max_epoch=1)
    content = checkpoint.read(result.folder / "best_ckpt.pth")
    model = restore(result.folder / "best_ckpt.pth").model
    masks = make_masks(magnitude(maskable_weights(model)), 0.5)
    apply_masks(model, masks)
    masked = out / "mask.pth"
    checkpoint.save(masked, {**content, "model": model.state_dict(), "masks": masks})
    with pytest.raises(YoloxError, match="interrupted"):
        run_training(tiny_exp, name="tune", ckpt=str(masked), stop_after=2)
    run_training(tiny_exp, name="tune", resume=True)
    tuned = checkpoint.read(out / "tune" / "latest_ckpt.pth")
    changed = 0
    for name, mask in masks.items():
        assert torch.equal(tuned["masks"][name], mask)
        for state in (tuned["model"], tuned["state"]["raw_model"]):
            assert not state[name][~mask].any()
        changed += int((tuned["model"][name] != content["model"][name])[mask].sum())
    assert changed > 0


def test_fine_tune_with_another_class_count_says_so(tiny_exp, out, capsys, tmp_path):
    run_training(tiny_exp, name="three", max_epoch=1)
    from yolox.data.synthetic import SyntheticSpec, make_dataset

    few = SyntheticSpec(train_images=4, val_images=2, size=128, classes=5)
    make_dataset(tmp_path / "few", few)
    run_training(
        tiny_exp,
        name="five",
        max_epoch=1,
        num_classes=5,
        data_dir=str(tmp_path / "few"),
        ckpt=str(out / "three" / "best_ckpt.pth"),
    )
    assert "3 channels there, 5 here" in capsys.readouterr().err


def test_official_checkpoints_are_resumed_from_their_average(tiny_exp, out, capsys):
    run_training(tiny_exp, name="ours", max_epoch=1)
    content = checkpoint.read(out / "ours" / "latest_ckpt.pth")
    official = {k: content[k] for k in ("start_epoch", "model", "optimizer", "best_ap", "curr_ap")}
    torch.save(official, out / "official.pth")
    losses, _ = run_training(tiny_exp, name="more", resume=True, ckpt=str(out / "official.pth"))
    assert len(losses) == 3
    assert "goes on from the averaged ones" in capsys.readouterr().err


def test_a_best_ap_that_is_not_stated_is_beaten_by_the_next(tiny_exp, out):
    run_training(tiny_exp, max_epoch=1)
    content = checkpoint.read(out / "tiny" / "latest_ckpt.pth")
    old = {key: content[key] for key in ("start_epoch", "model", "optimizer")}
    torch.save(old, out / "old.pth")
    _, result = run_training(tiny_exp, resume=True, ckpt=str(out / "old.pth"))
    assert result.best_ap == max(result.last_ap, 0.0)


def test_resume_of_another_architecture_is_refused(tiny_exp, out):
    run_training(tiny_exp, name="ours", max_epoch=1)
    with pytest.raises(ModelError, match=r"depth is 0\.33, the experiment has 0\.67"):
        run_training(tiny_exp, name="ours", resume=True, depth=0.67)


def test_a_loss_that_is_not_finite_stops_the_run(tiny_exp, out):
    with pytest.raises(YoloxError, match="files are named in"):
        run_training(tiny_exp, max_epoch=4, warmup_epochs=0, basic_lr_per_img=1e8)
    record = next((out / "tiny").glob("nonfinite_step_*.json"))
    files = json.loads(record.read_text())["files"]
    assert len(files) == 4
    assert all(name.endswith(".jpg") for name in files)


def test_batch_size_must_fit(tiny_exp):
    with pytest.raises(UsageError, match="batch size 4 is not a multiple of 1 processes x 3"):
        run_training(tiny_exp, accumulate=3)


def test_bf16_on_the_cpu_trains(tiny_exp, capsys):
    losses, _ = run_training(tiny_exp, max_epoch=1, precision="fp16")
    assert all(math.isfinite(loss) for loss in losses)
    assert "--fp16 on cpu: bf16 autocast, no scaler" in capsys.readouterr().err


def test_a_run_that_was_stopped_has_its_records(tiny_exp, out, monkeypatch):
    run_training(tiny_exp, name="first", max_epoch=1)
    first = out / "first" / "best_ckpt.pth"
    monkeypatch.chdir(first.parent)
    with pytest.raises(YoloxError, match="interrupted"):
        run_training(tiny_exp, ckpt=first.name, max_epoch=3, stop_after=4)
    kept = {"path": str(first), "sha256": file_hash(first)}
    found = json.loads((out / "tiny" / "manifest.json").read_text())
    assert (found["finished"], found["parent"]) == (False, kept)
    assert found["best_ckpt_sha256"] == file_hash(out / "tiny" / "best_ckpt.pth")
    run_training(tiny_exp, resume=True, max_epoch=3)
    found = json.loads((out / "tiny" / "manifest.json").read_text())
    assert (found["finished"], found["parent"]) == (True, kept)
    assert found["best_ckpt_sha256"] == file_hash(out / "tiny" / "best_ckpt.pth")


def test_an_ap_that_nobody_measured_is_null_in_the_records(tiny_exp, out):
    with pytest.raises(YoloxError, match="interrupted"):
        run_training(tiny_exp, stop_after=1)
    assert json.loads((out / "tiny" / "manifest.json").read_text())["best_ap"] is None


def test_a_run_that_stopped_early_is_over(tiny_exp):
    asked = {"max_epoch": 9, "patience": 1, "basic_lr_per_img": 1e-12}
    losses, _ = run_training(tiny_exp, **asked)
    assert len(losses) < 27
    assert run_training(tiny_exp, resume=True, **asked)[0] == []
