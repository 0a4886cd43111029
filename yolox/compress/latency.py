"""A budget in time: plans are tried on the device until one takes as long as it may."""

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from loguru import logger
from torch import Tensor

from yolox.backends import Backend, ModelInfo, missing_packages
from yolox.benchmark.worker import Order, Worker
from yolox.compress.groups import kept_channels
from yolox.compress.planner import Plan, Planner
from yolox.compress.steps import PruneStep
from yolox.errors import UsageError
from yolox.eval.latency import random_images, timed_ms, warm_up
from yolox.export.onnx_graph import GraphSpec, save_onnx, to_onnx
from yolox.export.open import Runtime, open_module
from yolox.files import TemporaryFolder
from yolox.models.channels import cut_channels
from yolox.models.fuse import fuse
from yolox.models.network import Network

TOLERANCE = 0.05  # of the budget
AIM = TOLERANCE / 2  # the search goes on until a plan is this close
TRIES = 10
TURNS = 9  # of a first look at a plan
# Plans that may be that close are measured until the ratio's standard error is below this share,
PRECISE = 0.008
SECONDS = 20.0  # but not much longer than this
SURE = 2.5  # standard errors beyond which a plan is no longer thought to be close
TURN_MS = 50.0  # a turn of a quick model holds as many runs as fit into this
EDGE = 0.1  # of the bracket: no guess is closer to its ends, so that every one makes it smaller

Turn = tuple[float, float]  # milliseconds of the dense model and of the other one


@dataclass(frozen=True)
class TimedPlan:
    """A plan and what was measured: milliseconds of it and of the dense model, in turns.

    error: the standard error of their ratio, as a share of it.
    """

    plan: Plan
    ms: float
    dense_ms: float
    error: float = 0.0

    @property
    def ratio(self) -> float:
        """The plan's time over the dense model's."""
        return self.ms / self.dense_ms


class Stopwatch:
    """Measures models of one kind at batch 1, always in turns with the dense one.

    PyTorch computes in this process, other runtimes in one of their own for each model: a process
    that opens them often is not safe. Raises UsageError where the backend is not installed.
    """

    def __init__(
        self,
        dense: Network,
        info: ModelInfo,
        step: PruneStep,
        size_hw: tuple[int, int],
        device: torch.device,
    ):
        require_backend(step.backend)
        self._info, self._size_hw = info, size_hw
        self._runtime = Runtime(step.backend, device=device)
        self._folder, self._numbers = TemporaryFolder(), count()
        self._dense = self._open(dense)

    @contextmanager
    def against_dense(self, model: Network) -> Iterator[Callable[[], Turn]]:
        """A function that measures one turn of the dense model and of this one."""
        with closing(self._open(model)) as other:
            yield lambda: (self._dense.turn_ms(), other.turn_ms())

    def close(self) -> None:
        """End the dense model's process, if it has one."""
        self._dense.close()

    def _open(self, model: Network) -> "_Paced":
        fused = fuse(model)
        if self._runtime.backend in ("torch", "compile"):
            backend = open_module(fused, self._info, self._runtime, self._size_hw)
            return _Paced(_Inside(backend, random_images(1, self._size_hw)))
        assert self._runtime.backend is not None  # a step names one
        path = self._folder.path / f"{next(self._numbers)}.onnx"
        save_onnx(to_onnx(fused, self._info, GraphSpec(self._size_hw, dynamic_batch=True)), path)
        threads = torch.get_num_threads()
        worker = Worker(
            Order(path, self._runtime.backend, "fp32", 1, self._size_hw, threads, "cpu")
        )
        worker.wait()
        return _Paced(worker)


class _Inside:
    """What a worker does, in this process."""

    def __init__(self, backend: Backend, images: Tensor):
        self._backend, self._images = backend, images
        warm_up(backend, images)

    def time_ms(self, runs: int) -> tuple[list[float], float]:
        """Milliseconds of each run; memory is not looked at."""
        return timed_ms(self._backend, self._images, runs, warm=runs > 1), 0.0

    def close(self) -> None:
        """Nothing is left open."""


class _Paced:
    """Takes turns that are not too short to be measured."""

    def __init__(self, timer: Worker | _Inside):
        self._timer, self._last_ms = timer, TURN_MS

    def turn_ms(self) -> float:
        """The median of a turn's runs."""
        found, _ = self._timer.time_ms(max(1, int(TURN_MS / self._last_ms)))
        self._last_ms = statistics.median(found)
        return self._last_ms

    def close(self) -> None:
        """End the process, if it has one."""
        self._timer.close()


def require_backend(name: str) -> None:
    """Raises UsageError where a backend's packages are not installed."""
    missing = missing_packages(name)
    if missing:
        raise UsageError(f"backend {name} needs {' and '.join(missing)}, not installed")


def plan_for_latency(
    planner: Planner, model: Network, watch: Stopwatch, step: PruneStep
) -> TimedPlan:
    """The plan whose measured time comes closest to the budget. The watch is closed.

    Whether it is within `TOLERANCE` is the caller's question (`latency_miss`). Raises UsageError
    naming the smallest time there is, where even that is too long.
    """
    with closing(watch):
        trials = _Measurements(planner, model, watch, step)
        _require_reachable(trials, len(planner) - 1, step)
        for _ in range(TRIES):
            best = trials.closest()
            if trials.distance(best) <= AIM:
                if trials.is_sure(best):
                    break
                trials.measure(best, long=True)
                continue
            number = trials.next_number()
            if number is None:
                break
            trials.measure(number)
        if trials.distance(trials.closest()) > TOLERANCE:  # before it is called a failure
            trials.measure(trials.closest(), long=True)
        return trials.found[trials.closest()]


def _require_reachable(trials: "_Measurements", most: int, step: PruneStep) -> None:
    """Raises UsageError where the plan that cuts most takes longer than the budget allows."""
    found = trials.measure(most)
    if trials.share(found) > 1 + TOLERANCE > trials.share(found) * (1 - SURE * found.error):
        found = trials.measure(most, long=True)
    if trials.share(found) > 1 + TOLERANCE:
        raise UsageError(
            f"budget {trials.name} {trials.budget:g} cannot be reached: {found.ms:.1f} ms, "
            f"{found.ratio:.3f} of dense, is the smallest with floor {step.floor:g}, "
            f"round_to {step.round_to}"
        )


class _Measurements:
    """Plans that were measured, by the number of units gone. Times of a plan add up."""

    def __init__(self, planner: Planner, model: Network, watch: Stopwatch, step: PruneStep):
        self._planner, self._model, self._watch = planner, model, watch
        [(self.name, self.budget)] = step.budgets.items()
        self._turns: dict[int, list[Turn]] = {}
        self._opened: Counter[int] = Counter()
        self.found: dict[int, TimedPlan] = {}

    def share(self, found: TimedPlan) -> float:
        """The measured time over the budget."""
        return (found.ratio if self.name == "latency" else found.ms) / self.budget

    def distance(self, number: int) -> float:
        """From the budget, as a share of it."""
        return abs(self.share(self.found[number]) - 1)

    def _may_fit(self, found: TimedPlan) -> bool:
        """Whether a plan may be as close to the budget as the search aims at."""
        return abs(self.share(found) - 1) <= AIM + SURE * found.error * self.share(found)

    def closest(self) -> int:
        """The plan measured closest to the budget."""
        return min(self.found, key=self.distance)

    def is_sure(self, number: int) -> bool:
        """Whether a plan was measured precisely, or twice where the machine does not let us."""
        return self.found[number].error <= PRECISE or self._opened[number] > 1

    def next_number(self) -> int | None:
        """The plan to measure next: none cut, where the dense model is quick enough."""
        latest = list(self.found.values())[-1]
        dense = self.share(TimedPlan(latest.plan, latest.dense_ms, latest.dense_ms))
        if dense <= 1:
            return None if 0 in self.found else 0
        measured = {number: self.share(found) for number, found in self.found.items()}
        return next_number(self._planner, {**measured, 0: dense})

    def measure(self, number: int, *, long: bool = False) -> TimedPlan:
        """Time a plan, precisely where it is near the budget. long: in any case."""
        plan = self._planner.plan(number)
        channels = kept_channels(self._planner.groups, plan.kept)
        turns = self._turns.setdefault(number, [])
        self._opened[number] += 1
        with self._watch.against_dense(cut_channels(self._model, channels)) as turn:
            before = len(turns)
            turns += [turn() for _ in range(TURNS)]
            found = _timed(plan, turns)
            while (long or self._may_fit(found)) and not (
                _is_precise(found, turns) or _seconds(turns[before:]) > SECONDS
            ):
                turns += [turn() for _ in range(TURNS)]
                found = _timed(plan, turns)
        self.found[number] = found
        logger.info(
            "{:.1%} of the MACs: {:.1f} ms, {:.3f} of dense (+- {:.1%})",
            plan.macs_left,
            found.ms,
            found.ratio,
            found.error,
        )
        return found


def _timed(plan: Plan, turns: Sequence[Turn]) -> TimedPlan:
    """The median ratio of the turns, which a machine that is slow for a while hardly changes."""
    dense, own = np.array(turns).T
    ratios = own / dense
    ratio, dense_ms = float(np.median(ratios)), float(np.median(dense))
    spread = 1.4826 * float(np.median(np.abs(ratios - ratio)))  # a standard deviation, if normal
    error = 1.2533 * spread / len(turns) ** 0.5 / ratio  # of a median
    return TimedPlan(plan, ratio * dense_ms, dense_ms, error)


def _is_precise(found: TimedPlan, turns: Sequence[Turn]) -> bool:
    """Whether to stop measuring. The error of few turns says little itself."""
    return len(turns) > TURNS and found.error <= PRECISE


def _seconds(turns: Sequence[Turn]) -> float:
    """About how long turns took."""
    return sum(max(ms, TURN_MS) for turn in turns for ms in turn) / 1000


def next_number(planner: Planner, shares: Mapping[int, float]) -> int | None:
    """The number of units gone to measure next, None where there is nothing left to try.

    shares: measured time over the budget, by the number of units gone; that of the dense model, 0,
    is over 1. Time is taken to fall roughly with the MACs; of several places where it crosses the
    budget the one with the fewest units gone is looked for.
    """
    below = min((number for number, share in shares.items() if share <= 1), default=None)
    if below is None:
        return None
    above = max(number for number, share in shares.items() if share > 1 and number < below)

    def size(number: int) -> float:
        return planner.cost(number).macs

    part = (shares[above] - 1) / (shares[above] - shares[below])
    part = min(max(part, EDGE), 1 - EDGE)
    wanted = size(above) + part * (size(below) - size(above))
    guess = planner.least_cut(lambda number: size(number) <= wanted)
    for number in (guess, (above + below) // 2):
        if above < number < below and size(number) not in (size(above), size(below)):
            return number
    return None


def latency_miss(found: TimedPlan, step: PruneStep) -> str:
    """What is wrong with a plan that is not within the tolerance; empty where nothing is."""
    [(name, budget)] = step.budgets.items()
    reached = found.ratio if name == "latency" else found.ms
    if abs(reached / budget - 1) <= TOLERANCE:
        return ""
    if found.plan.macs_left == 1:
        return f"nothing to cut: the dense model takes {found.ms:.1f} ms, {name} {budget:g} is more"
    return (
        f"the latency budget was not met: {name} {reached:.3f} was reached, {budget:g} asked for "
        f"({found.ms:.1f} ms, dense {found.dense_ms:.1f} ms)"
    )
