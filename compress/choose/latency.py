"""A budget in time: plans are tried on the device until one takes as long as it may."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from loguru import logger
from torch import nn

from compress.choose.plan import Plan, Planner, PruneStep
from compress.structure.groups import kept_channels
from yolox.backends import Backend, ModelInfo
from yolox.errors import UsageError
from yolox.eval.latency import latency_ms, random_images
from yolox.export.open import Runtime, open_module
from yolox.models.channels import cut_channels
from yolox.models.fuse import fuse

TOLERANCE = 0.05  # of the budget
TRIES = 12
ROUNDS = 9  # of each try
FINAL_ROUNDS = 25  # of the plan that is taken


@dataclass(frozen=True)
class Timed:
    """A plan and what was measured: milliseconds of it and of the dense model, in turns."""

    plan: Plan
    ms: float
    dense_ms: float

    @property
    def ratio(self) -> float:
        """The plan's time over the dense model's."""
        return self.ms / self.dense_ms


class Stopwatch:
    """Measures models of one kind at batch 1, always in turns with the dense one."""

    def __init__(
        self, dense: nn.Module, info: ModelInfo, step: PruneStep, size_hw: tuple[int, int],
        device: torch.device,
    ):  # fmt: skip
        self._info, self._size_hw = info, size_hw
        self._runtime = Runtime(step.backend, device=device)
        self._dense = self._open(dense)

    def measure(self, model: nn.Module, rounds: int) -> tuple[float, float]:
        """Milliseconds of the model and of the dense one."""
        backends = {"dense": self._dense, "model": self._open(model)}
        found = latency_ms(backends, random_images(1, self._size_hw), rounds)
        return found["model"], found["dense"]

    def _open(self, model: nn.Module) -> Backend:
        return open_module(fuse(model), self._info, self._runtime, self._size_hw)


def plan_for_latency(
    planner: Planner, model: nn.Module, watch: Stopwatch, step: PruneStep
) -> Timed:
    """The plan whose measured time comes closest to the budget.

    Whether it is within `TOLERANCE` is the caller's question (`misses`). Raises UsageError naming
    the smallest time there is, where even that is too long.
    """
    name, budget = step.budget

    def timed(number: int, rounds: int) -> Timed:
        plan = planner.plan(number)
        channels = kept_channels(planner.groups, plan.kept)
        ms, dense_ms = watch.measure(cut_channels(model, channels), rounds)
        found = Timed(plan, ms, dense_ms)
        logger.info(
            "{:.1%} of the MACs: {:.1f} ms, {:.3f} of dense", plan.macs_left, ms, found.ratio
        )
        return found

    def share(found: Timed) -> float:
        return found.ratio / budget if name == "latency" else found.ms / budget

    best = _search(timed, share, len(planner) - 1)
    if share(best) > 1 + TOLERANCE and best.plan.cost == planner.cost(len(planner) - 1):
        raise UsageError(
            f"budget {name} {budget:g} cannot be reached: {best.ms:.1f} ms, {best.ratio:.3f} of"
            f" dense, is the smallest with floor {step.floor:g}, round_to {step.round_to}"
        )
    return best


def misses(found: Timed, step: PruneStep) -> str:
    """What is wrong with a plan that is not within the tolerance; empty where nothing is."""
    name, budget = step.budget
    reached = found.ratio if name == "latency" else found.ms
    if abs(reached / budget - 1) <= TOLERANCE:
        return ""
    return (
        f"the latency budget was not met: {name} {reached:.3f} was reached, {budget:g} asked for "
        f"({found.ms:.1f} ms, dense {found.dense_ms:.1f} ms)"
    )


def _search(
    timed: Callable[[int, int], Timed], share: Callable[[Timed], float], most: int
) -> Timed:
    """Bisection on noisy measurements: those within the tolerance are measured again, longer."""
    low, high = 0, most
    tried: dict[int, Timed] = {}
    for _ in range(TRIES):
        middle = (low + high + 1) // 2
        if middle in tried:
            break
        tried[middle] = timed(middle, ROUNDS)
        if abs(share(tried[middle]) - 1) < TOLERANCE / 2:
            tried[middle] = timed(middle, FINAL_ROUNDS)
            if abs(share(tried[middle]) - 1) < TOLERANCE / 2:
                return tried[middle]
        low, high = (middle, high) if share(tried[middle]) > 1 else (low, middle - 1)
    closest = min(tried, key=lambda number: abs(share(tried[number]) - 1))
    return timed(closest, FINAL_ROUNDS)
