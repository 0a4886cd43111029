"""The plan: which units of each channel group are kept, for a budget that holds after rounding."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from yolox.compress.cost import Cost, CostModel, Counts
from yolox.compress.groups import Groups
from yolox.compress.importance.curves import Curve
from yolox.compress.steps import SIZES, PruneStep
from yolox.errors import UsageError
from yolox.ops.precision import to_float64

Scores = Mapping[str, Tensor]  # group name -> [units]; the lowest are cut first

TINY = np.finfo(np.float64).tiny


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
    measured of a plan holds for the model that is made. curves: by group, for the ranking
    'sensitivity' alone. whole: the groups' sizes before anything was cut, which floor and multiples
    are counted in (default: their sizes).
    """

    def __init__(
        self,
        groups: Groups,
        scores: Scores,
        step: PruneStep,
        curves: Mapping[str, Curve] | None = None,
        whole: Mapping[str, int] | None = None,
    ):
        self.groups, self._step, self._curves = groups, step, curves or {}
        self._model = CostModel(groups)
        self.dense = self._model.dense()
        sizes = whole or groups.sizes
        before = np.array([sizes[group.name] for group in groups.groups])
        self._steps = _multiples(before, step)
        self._least = np.minimum(_least(before, step), self._model.sizes)
        self._orders = [
            np.argsort(to_float64(scores[group.name]).numpy(), kind="stable")
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

    def within(self, shares: Mapping[str, float]) -> Plan:
        """The plan that cuts least for at most these shares of the dense parameters and MACs.

        Raises UsageError like `require_reachable`.
        """
        require_reachable(self.groups, self._step)

        def fits(number: int) -> bool:
            cost = self.cost(number)
            return all(
                getattr(cost, name) <= share * getattr(self.dense, name)
                for name, share in shares.items()
            )

        return self.plan(self.least_cut(fits))

    def _ranks(self, scores: Scores) -> list[npt.NDArray[np.float64]]:
        """Scores that can be compared across groups, in the order in which units leave."""
        found = []
        saved = self._saved()
        for group, order, saving in zip(self.groups.groups, self._orders, saved, strict=True):
            own = to_float64(scores[group.name]).numpy()[order]
            if self._step.ranking == "layer":
                own = (np.arange(group.size) + 0.5) / group.size
            elif self._step.ranking == "normalised":
                own = own / max(own.mean(), TINY)
            elif self._step.ranking == "per_cost":
                own = own / max(saving, TINY)
            elif self._step.ranking == "sensitivity":
                measured = self._curves[group.name].marginals(group.size)
                own = np.sqrt(own * measured) / max(saving, TINY)
            found.append(own)
        return found

    def _saved(self) -> npt.NDArray[np.float64]:
        """What the first unit of each group saves: shares of the dense model, over all budgets."""
        each = dict(zip(SIZES, self._model.per_unit(), strict=True))
        names = [name for name in SIZES if name in self._step.budgets] or ["macs"]
        saved: npt.NDArray[np.float64] = sum(
            (each[name] / getattr(self.dense, name) for name in names), start=np.zeros(())
        )
        return saved


def require_reachable(groups: Groups, step: PruneStep) -> None:
    """Raises UsageError naming the smallest share there is, where a budget in size is smaller."""
    model = CostModel(groups)
    least, dense = model.of(model.sizes - _least(model.sizes, step)), model.dense()
    for name in SIZES:
        share, smallest = step.budgets.get(name), getattr(least, name) / getattr(dense, name)
        if share is not None and smallest > share:
            raise UsageError(
                f"budget {name} {share:g} cannot be reached: {smallest:.3f} is the smallest share "
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
