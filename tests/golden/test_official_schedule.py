"""Learning rates and EMA decay of official YOLOX 0.3.0."""

import numpy as np
import pytest
import torch

from tests.golden.reference import load_arrays
from yolox.config import TrainSpec
from yolox.engine.ema import ModelEMA, ema_decay
from yolox.engine.schedule import learning_rate


@pytest.fixture(scope="module")
def stored():
    return load_arrays("schedule")


CASES = {
    "lr_a": (10, 0.01, TrainSpec(max_epoch=20, warmup_epochs=3, no_aug_epochs=4)),
    "lr_b": (
        7,
        0.0025,
        TrainSpec(max_epoch=10, warmup_epochs=1, no_aug_epochs=2, warmup_lr=1e-4, min_lr_ratio=0.2),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_learning_rate(stored, name):
    pace, peak, spec = CASES[name]
    ours = [learning_rate(step, pace, peak, spec) for step in range(len(stored[name]))]
    np.testing.assert_allclose(ours, stored[name], rtol=1e-12, atol=1e-15)


def test_ema_decay(stored):
    ours = [ema_decay(int(updates), 0.9998, 2000) for updates in stored["ema_updates"]]
    np.testing.assert_allclose(ours, stored["ema_decay"], rtol=1e-12)


def test_ema_follows_a_weight(stored):
    model = torch.nn.Linear(1, 1, bias=False).double()
    torch.nn.init.zeros_(model.weight)
    ema = ModelEMA(model, decay=0.9998, warmup=2000)
    torch.nn.init.ones_(model.weight)
    track = []
    for _ in stored["ema_track_0_to_1"]:
        ema.update()
        track.append(ema.model.weight.item())
    np.testing.assert_allclose(track, stored["ema_track_0_to_1"], rtol=1e-5)


def test_ema_averages_batch_norm_statistics_but_not_counters():
    model = torch.nn.BatchNorm1d(2)
    ema = ModelEMA(model, decay=0.5, warmup=1e-3)
    model.running_mean.fill_(4.0)
    model.num_batches_tracked.fill_(7)
    ema.update()
    assert torch.equal(ema.model.running_mean, torch.tensor([2.0, 2.0]))
    assert ema.model.num_batches_tracked.item() == 0
