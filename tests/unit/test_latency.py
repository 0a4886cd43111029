"""The search for a plan that meets a budget in time, on machines whose clock is noisy."""

import time
from contextlib import closing, contextmanager

import numpy as np
import pytest
import torch

from tests.tiny_models import SIZE, SPECS, tiny_model
from yolox.compress import latency
from yolox.compress.groups import find_groups
from yolox.compress.latency import (
    TOLERANCE,
    TURNS,
    Stopwatch,
    latency_miss,
    next_number,
    plan_for_latency,
)
from yolox.compress.planner import Planner
from yolox.compress.steps import PruneStep
from yolox.errors import UsageError
from yolox.families import build

DENSE_MS = 40.0


class Watch:
    """Time falls with the units kept, down to an overhead. The machine is slow for a while now and
    then, single runs are slow at random.
    """

    def __init__(self, groups, noise, seed=0):
        self.dense, self.noise = sum(group.size for group in groups.groups), noise
        self.random = np.random.default_rng(seed)
        self.turns, self.closed = 0, False

    def ms(self, kept):
        """Without the noise."""
        return DENSE_MS * (0.1 + 0.9 * sum(map(len, kept.values())) / self.dense)

    @contextmanager
    def against_dense(self, kept):
        ms = self.ms(kept)

        def turn():
            self.turns += 1
            phase = 3.0 if self.noise and self.turns // 7 % 2 else 1.0
            spikes = np.exp(np.abs(self.random.normal(0, self.noise, 2)))
            return DENSE_MS * phase * spikes[0], ms * phase * spikes[1]

        yield turn

    def close(self):
        self.closed = True


@pytest.fixture(scope="module")
def groups():
    torch.manual_seed(0)
    return find_groups(build(SPECS["p5"]), (64, 64))


@pytest.fixture
def search(monkeypatch, groups):
    """The search with a watch that takes what is kept for the model."""
    monkeypatch.setattr(latency, "kept_channels", lambda groups, kept: kept)
    monkeypatch.setattr(latency, "cut_channels", lambda model, kept: kept)
    return lambda watch, step: plan_for_latency(planner_of(groups, step), None, watch, step)


def planner_of(groups, step):
    generator = torch.Generator().manual_seed(0)
    scores = {g.name: torch.rand(g.size, generator=generator) for g in groups.groups}
    return Planner(groups, scores, step)


def step_of(**budget):
    return PruneStep(round_to=1, **budget)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.15])
@pytest.mark.parametrize("budget", [0.3, 0.5, 0.8])
def test_a_share_of_the_time_is_reached_on_a_noisy_machine(search, groups, budget, noise):
    step = step_of(latency=budget)
    for seed in range(5 if noise else 1):
        watch = Watch(groups, noise, seed)
        found = search(watch, step)
        assert watch.ms(found.plan.kept) / DENSE_MS == pytest.approx(budget, rel=TOLERANCE)
        assert not latency_miss(found, step)
        assert watch.closed
        assert watch.turns < 2000


def test_milliseconds(search, groups):
    found = search(Watch(groups, 0.0), step_of(latency_ms=20.0))
    assert found.ms == pytest.approx(20.0, rel=0.025)
    assert found.dense_ms == DENSE_MS


@pytest.mark.parametrize("budget", [{"latency": 0.01}, {"latency_ms": 0.001}])
def test_what_cannot_be_reached_is_said_right_away(search, groups, budget):
    watch = Watch(groups, 0.3)
    with pytest.raises(UsageError, match=r"cannot be reached: .* is the smallest"):
        search(watch, step_of(**budget))
    assert watch.turns == TURNS
    assert watch.closed


def test_a_dense_model_that_is_quick_enough_stays_whole(search, groups):
    step = step_of(latency_ms=100.0)
    found = search(Watch(groups, 0.0), step)
    assert found.plan.macs_left == 1
    assert "nothing to cut" in latency_miss(found, step)


def test_the_next_plan_lies_in_the_bracket(groups):
    planner = planner_of(groups, step_of(latency=0.5))
    most = len(planner) - 1
    shares = {0: 2.0, most: 0.5}
    middle = next_number(planner, shares)
    expected = (2 * planner.cost(most).macs + planner.dense.macs) / 3  # a third is left to go
    assert planner.cost(middle).macs == pytest.approx(expected, rel=0.02)
    assert middle < next_number(planner, {**shares, middle: 1.1}) < most
    assert 0 < next_number(planner, {**shares, middle: 0.9}) < middle
    assert next_number(planner, {0: 2.0, 1: 0.9}) is None
    assert next_number(planner, {0: 2.0, most: 1.02}) is None


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_turns_are_measured_in_every_backend(backend):
    model, info = tiny_model()
    watch = Stopwatch(model, info, step_of(latency=0.5, backend=backend), SIZE, torch.device("cpu"))
    with closing(watch), watch.against_dense(model) as turn:
        for _ in range(2):
            start = time.perf_counter()
            dense, own = turn()
            spent = 1000 * (time.perf_counter() - start)
            assert min(dense, own) > 0.05  # no network of 60 layers is quicker
            assert dense + own < spent  # milliseconds, of one run at most as long as all


class Timer:
    """Takes 20 ms for a run, and 500 ms for the first of a turn."""

    def __init__(self):
        self.asked = []

    def time_ms(self, runs):
        self.asked.append(runs)
        return [500.0, *[20.0] * (runs - 1)], 0.0


def test_a_turn_holds_as_many_runs_as_fit_and_is_their_median():
    timer = Timer()
    paced = latency._Paced(timer)
    assert [paced.turn_ms() for _ in range(2)] == [500.0, 500.0]
    paced._last_ms = 5.0
    assert paced.turn_ms() == 20.0
    paced.turn_ms()
    assert timer.asked == [1, 1, 10, 2]


def test_a_backend_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(latency, "missing_packages", lambda backend: ["openvino"])
    step = step_of(latency=0.5, backend="openvino")
    with pytest.raises(UsageError, match="openvino needs openvino, not installed"):
        Stopwatch(*tiny_model(), step, SIZE, torch.device("cpu"))
