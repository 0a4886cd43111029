"""A fine-tune whose learning rate destroys the model, watched and not.

What a model is worth stands in for AP: 0.5 where it is the start, less the further it is away.
"""

import math

import pytest
import torch

import yolox.engine.train as trainer
import yolox.engine.validation as validation
from tests.pipeline.runs import run_training
from yolox.engine import checkpoint
from yolox.errors import YoloxError
from yolox.eval.coco_ap import CocoMetrics
from yolox.eval.evaluate import Evaluation

FAR = 30.0  # distance of weights that are worth 1/e of the start


@pytest.fixture
def start(tiny_exp, tmp_path, monkeypatch):
    """A checkpoint, and the evaluation that compares with it."""
    run_training(tiny_exp, name="start", max_epoch=1)
    path = tmp_path / "out" / "start" / "best_ckpt.pth"
    weights = checkpoint.read(path)["model"]

    def evaluate(run, model, dataset):
        own = model.state_dict()
        squares = [(own[k] - v).square().sum() for k, v in weights.items() if v.dim() == 4]
        ap = 0.5 * math.exp(-float(torch.stack(squares).sum().sqrt()) / FAR)
        metrics = CocoMetrics(ap, ap, ap, ap, ap, ap, ap, {}, len(dataset))
        stages = dict.fromkeys(("preprocess", "forward", "postprocess", "total"), 1.0)
        return Evaluation(metrics, stages, [], {})

    monkeypatch.setattr(validation, "_evaluate", evaluate)
    monkeypatch.setattr("yolox.engine.progress.complexity", lambda model, size: None)
    monkeypatch.setattr("yolox.engine.progress.describe", lambda size, size_hw: "")
    return path, weights


FAST = {"basic_lr_per_img": 0.05, "warmup_epochs": 0, "ema_decay": 1e-9, "max_epoch": 4}


def _state(result, name="latest"):
    return checkpoint.read(result.folder / f"{name}_ckpt.pth")["state"]


def test_the_start_is_the_best_where_nothing_later_is_better(tiny_exp, start):
    _, result = run_training(tiny_exp, ckpt=str(start[0]), evaluate_first=True, **FAST)
    assert result.last_ap < result.best_ap == 0.5
    best = checkpoint.read(result.folder / "best_ckpt.pth")
    assert best["state"]["step"] == 0
    assert all(torch.equal(best["model"][key], value) for key, value in start[1].items())


def test_a_collapse_is_taken_back_and_a_resumed_run_decides_the_same(
    tiny_exp, start, capsys, monkeypatch
):
    take_back = trainer.take_back

    def observed(run, cause):
        goes_on = take_back(run, cause)
        for own in (run.model.state_dict(), run.eval_model.state_dict()):
            assert all(torch.equal(own[key], value) for key, value in start[1].items())
        return goes_on

    monkeypatch.setattr(trainer, "take_back", observed)
    asked = {"ckpt": str(start[0]), "guard": True, "eval_interval": 2, "no_aug_epochs": 0, **FAST}
    losses, result = run_training(tiny_exp, name="whole", **asked)
    said = capsys.readouterr().err
    assert "below 0.5 of the best, 0.5000: taken back to epoch 0, on with 1/3 of the" in said
    count = _state(result)["taken_back"]
    assert 1 <= count <= 3
    assert _state(result)["lr_scale"] == pytest.approx(3.0**-count)
    assert result.best_ap == 0.5
    assert result.last_ap > 0.25
    with pytest.raises(YoloxError, match="interrupted"):
        run_training(tiny_exp, name="cut", stop_after=3 * count + 2, **asked)
    rest, again = run_training(tiny_exp, name="cut", resume=True, **{**asked, "ckpt": None})
    assert rest == losses[3 * count + 2 :]
    one, other = (checkpoint.read(r.folder / "latest_ckpt.pth")["model"] for r in (result, again))
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_a_loss_that_stays_infinite_ends_with_the_start(tiny_exp, start, capsys):
    asked = {**FAST, "basic_lr_per_img": 1e12}
    _, result = run_training(tiny_exp, ckpt=str(start[0]), guard=True, **asked)
    said = capsys.readouterr().err
    assert said.count("taken back to epoch 0") == 3
    assert "taken back 3 times already, training ends here" in said
    assert result.best_ap == 0.5
    weights = checkpoint.read(result.folder / "best_ckpt.pth")["model"]
    assert all(torch.equal(weights[key], value) for key, value in start[1].items())
