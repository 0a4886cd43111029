"""The plan: which units of each channel group are kept, for a budget that holds after rounding."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from compress.scores.channels import CHANNEL_CRITERIA, LOOKING
from compress.structure.cost import Cost, CostModel, Counts
from compress.structure.groups import Groups
from yolox.backends import BACKENDS
from yolox.config import one_of
from yolox.errors import UsageError

Scores = Mapping[str, Tensor]  # group name -> [units]; the lowest are cut first

BUDGETS = ("params", "macs", "latency", "latency_ms")
RANKINGS = ("global", "layer", "normalised", "per_cost")


@dataclass(frozen=True)
class PruneStep:
    """What may be left, and how it is chosen. Exactly one budget is given:

    params, macs, latency: the share that may be left of the dense model's; latency is measured on
        this device with `backend` at batch 1. latency_ms: milliseconds, measured likewise.
    criterion: one of `compress.scores.channels`. ranking: how scores of different groups compare.
        'global' as they are, 'layer' by their order within the group (the same share of each),
        'normalised' over the group's mean, 'per_cost' over what a unit saves of the budget.
    round_to: kept channels are multiples of it (of a smaller power of two in groups of less than
        four times as many). floor: share of a group that always stays. exclude: words in the names
        of groups left alone. rounds: the budget is reached in so many steps, each adapted and
        scored anew. images: to calibrate with, at most.
    Raises ValueError for values that cannot be.
    """

    params: float | None = None
    macs: float | None = None
    latency: float | None = None
    latency_ms: float | None = None
    backend: str = "torch"
    criterion: str = "output"
    ranking: str = "per_cost"
    round_to: int = 8
    floor: float = 0.1
    exclude: tuple[str, ...] = ()
    rounds: int = 1
    images: int = 64

    def __post_init__(self) -> None:
        given = [key for key in BUDGETS if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"prune needs one of {', '.join(BUDGETS)}, not {len(given)}")
        name, value = self.budget
        if not value > 0 or (name != "latency_ms" and value >= 1):
            raise ValueError(f"{name} {value} is not between 0 and 1")
        one_of("criterion", self.criterion, list(CHANNEL_CRITERIA))
        one_of("ranking", self.ranking, RANKINGS)
        one_of("backend", self.backend, BACKENDS)
        for key in ("round_to", "rounds", "images"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} {getattr(self, key)} is not positive")
        if self.rounds > 1 and self.is_latency:
            raise ValueError("a latency budget is reached in one round")
        if not 0.0 <= self.floor <= 1.0:
            raise ValueError(f"floor {self.floor} is not in 0..1")

    @property
    def budget(self) -> tuple[str, float]:
        """Its name and its value."""
        name = next(key for key in BUDGETS if getattr(self, key) is not None)
        return name, float(getattr(self, name))

    @property
    def looks(self) -> bool:
        """Whether calibration images are needed."""
        return self.criterion in LOOKING or self.rounds > 1

    @property
    def is_latency(self) -> bool:
        """Whether the budget is a time."""
        return self.budget[0].startswith("latency")


@dataclass(frozen=True)
class Plan:
    """kept: group name -> kept units, ascending. cost and dense: after and before."""

    kept: dict[str, list[int]]
    cost: Cost
    dense: Cost

    @property
    def params_left(self) -> float:
        """Share of the parameters."""
        return self.cost.params / self.dense.params

    @property
    def macs_left(self) -> float:
        """Share of the MACs."""
        return self.cost.macs / self.dense.macs


class Planner:
    """All plans that one set of scores allows, from none cut (0) to as much as may be cut (1, ...).

    Units leave in the order of their rank; counts are rounded after that, so that whatever is
    measured of a plan holds for the model that is made.
    """

    def __init__(self, groups: Groups, scores: Scores, step: PruneStep):
        self.groups, self._step = groups, step
        self._model = CostModel(groups)
        self.dense = self._model.dense()
        self._steps = _multiples(self._model.sizes, step)
        self._least = _least(self._model.sizes, step)
        self._orders = [
            np.argsort(scores[group.name].double().numpy(), kind="stable")
            for group in groups.groups
        ]
        ranks = self._ranks(scores)
        owner = np.concatenate([np.full(len(r), i) for i, r in enumerate(ranks)])
        self._leaving = owner[np.argsort(np.concatenate(ranks), kind="stable")]

    def __len__(self) -> int:
        return len(self._leaving) + 1

    def counts(self, number: int) -> Counts:
        """Units kept of each group once `number` units have left, before rounding up or down."""
        left = self._model.sizes - np.bincount(
            self._leaving[:number], minlength=len(self._model.sizes)
        )
        rounded = np.round(left / self._steps) * self._steps
        whole = left > self._model.sizes - self._steps / 2  # a size that is no multiple itself
        kept = np.where(whole, self._model.sizes, np.maximum(rounded, self._least))
        return np.minimum(kept, self._model.sizes).astype(np.int64)

    def cost(self, number: int) -> Cost:
        """What the plan with `number` units gone costs."""
        return self._model.of(self._model.sizes - self.counts(number))

    def plan(self, number: int) -> Plan:
        """The plan itself: the highest scores stay."""
        kept = {
            group.name: sorted(order[group.size - count :].tolist())
            for group, order, count in zip(
                self.groups.groups, self._orders, self.counts(number), strict=True
            )
        }
        return Plan(kept, self.cost(number), self.dense)

    def least_cut(self, fits: Callable[[int], bool]) -> int:
        """The smallest number of units that must leave for `fits`, which holds from there on."""
        low, high = 0, len(self) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if fits(middle) else (middle + 1, high)
        return low

    def within(self, budget: str, share: float) -> Plan:
        """The plan that cuts least for at most `share` of the dense parameters or MACs.

        Raises UsageError like `require_reachable`.
        """
        require_reachable(self.groups, self._step)
        most = share * getattr(self.dense, budget)
        return self.plan(self.least_cut(lambda number: getattr(self.cost(number), budget) <= most))

    def _ranks(self, scores: Scores) -> list[npt.NDArray[np.float64]]:
        """Scores that can be compared across groups, in the order in which units leave."""
        found = []
        saved = self._model.per_unit()[0 if self._step.params is not None else 1]
        for group, order, saving in zip(self.groups.groups, self._orders, saved, strict=True):
            own = scores[group.name].double().numpy()[order]
            if self._step.ranking == "layer":
                own = (np.arange(group.size) + 0.5) / group.size
            elif self._step.ranking == "normalised":
                own = own / max(own.mean(), np.finfo(np.float64).tiny)
            elif self._step.ranking == "per_cost":
                own = own / max(saving, 1.0)
            found.append(own)
        return found


def require_reachable(groups: Groups, step: PruneStep) -> None:
    """Raises UsageError naming the smallest share there is, where a budget of shares is smaller."""
    budget, share = step.budget
    model = CostModel(groups)
    least = model.of(model.sizes - _least(model.sizes, step))
    smallest = getattr(least, budget) / getattr(model.dense(), budget)
    if smallest > share:
        raise UsageError(
            f"budget {budget} {share:g} cannot be reached: {smallest:.3f} is the smallest share "
            f"with floor {step.floor:g}, round_to {step.round_to}"
        )


def _multiples(sizes: Counts, step: PruneStep) -> Counts:
    """The multiple for each group: smaller in small ones, so that there are four steps at least."""
    found = []
    for size in sizes.tolist():
        multiple = step.round_to
        while multiple > 1 and size < 4 * multiple:
            multiple //= 2
        found.append(multiple)
    return np.array(found)


def _least(sizes: Counts, step: PruneStep) -> Counts:
    """Units of each group that always stay."""
    multiples = _multiples(sizes, step)
    least = np.ceil(sizes * step.floor / multiples) * multiples
    return np.minimum(np.maximum(least, multiples), sizes).astype(np.int64)
