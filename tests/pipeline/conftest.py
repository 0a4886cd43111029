"""A checkpoint to run commands on, and a trainer that is quick and does as told."""

from pathlib import Path

import pytest
import torch

from tests.forked import Forked
from tests.tiny_models import spread_scores
from yolox.benchmark import worker
from yolox.compress import recover
from yolox.compress.report import speed
from yolox.engine import checkpoint
from yolox.engine.train import TrainResult
from yolox.errors import YoloxError
from yolox.exp import get_exp
from yolox.families import spec_to_dict


@pytest.fixture(autouse=True)
def _seconds_are_few(monkeypatch):
    """Reports measure how fast models are; here it matters that they do (`test_speed.py`: how)."""
    monkeypatch.setattr(speed, "BATCHES", (1,))
    monkeypatch.setattr(speed, "ROUNDS", 3)
    monkeypatch.setattr(speed, "SECONDS", 1.0)
    monkeypatch.setattr(worker, "start", Forked)  # as `Popen`: `test_speed.py`


@pytest.fixture
def ckpt(tmp_path, tiny_exp):
    """A dense checkpoint of the tiny experiment with random weights."""
    exp = get_exp(exp_file=str(tiny_exp))
    torch.manual_seed(0)
    path = tmp_path / "dense.pth"
    spec = spec_to_dict(exp.detector_spec())
    origin = {"file": str(tiny_exp), "name": None, "options": exp.options()}
    model = exp.get_model()
    spread_scores(model)
    content = {"model": model.state_dict(), "spec": spec, "exp": origin}
    checkpoint.save(path, content)
    return path


class FakeTrainer:
    """Takes the place of `train`: what it is given times `factor`, or an interruption."""

    def __init__(self):
        self.factor, self.interrupted, self.calls = 1.0, False, []

    def __call__(self, exp, options):
        self.calls.append((exp, options))
        folder = Path(exp.output_dir) / exp.exp_name
        source = options.ckpt or folder / "latest_ckpt.pth"
        content = checkpoint.read(source)
        weights = {
            key: value * self.factor if value.dim() == 4 else value
            for key, value in content["model"].items()
        }
        checkpoint.save(folder / "latest_ckpt.pth", {**content, "model": weights})
        if self.interrupted:
            raise YoloxError("interrupted after step 1")
        checkpoint.save(folder / "best_ckpt.pth", {**content, "model": weights})
        return TrainResult(0.5, 0.5, folder)


@pytest.fixture
def trainer(monkeypatch):
    fake = FakeTrainer()
    monkeypatch.setattr(recover, "train", fake)
    return fake
