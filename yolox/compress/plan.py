"""The plan stage: which channels stay."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from torch import Tensor

from yolox.compress.calibration import ImageSet
from yolox.compress.cost import Cost, CostModel
from yolox.compress.groups import (
    Groups,
    find_groups,
    group_table,
    kept_channels,
    kept_units,
    warn_of_unused,
)
from yolox.compress.importance.channels import CHANNEL_CRITERIA, Evidence, Scores
from yolox.compress.importance.gradients import TrainingLoss
from yolox.compress.job import CompressionJob
from yolox.compress.latency import Stopwatch, latency_miss, plan_for_latency
from yolox.compress.least_squares import Batches, Student, least_squares
from yolox.compress.planner import Plan, Planner, require_reachable
from yolox.compress.sensitivity import Curves, SensitivityInputs, measured_curves
from yolox.compress.stage import DENSE, PLAN, Artefact, Artefacts, Stage
from yolox.compress.steps import PruneStep, SensitivityStep
from yolox.compress.workspace import Loaded, Workspace
from yolox.engine import checkpoint
from yolox.errors import YoloxError
from yolox.files import write_json
from yolox.models.channels import Channels, compose, cut_channels, cut_masks
from yolox.models.network import Network

LARGEST_SHARE = 1 - 1e-9  # a budget is less than all

Masks = Mapping[str, Tensor]


@dataclass(frozen=True)
class PlanInputs:
    """What the plan stage is given.

    masked: the checkpoint of the mask stage, for the criterion `mask`. images, loss and curves:
    where the step needs them. timed_on: device and number of threads, for a budget in time.
    """

    dense: Path
    masked: Path | None
    step: PruneStep
    test_size: tuple[int, int]
    images: ImageSet | None
    loss: TrainingLoss | None
    curves: SensitivityInputs | None
    seed: int
    timed_on: tuple[torch.device, int] | None


class PlanStage(Stage):
    """Choose the channels that stay, for a budget."""

    name = "plan"
    writes = ("plan.json",)

    def is_asked(self, job: CompressionJob) -> bool:
        """Where the recipe has `prune`."""
        return job.recipe.prune is not None

    def given(self, job: CompressionJob, found: Artefacts) -> PlanInputs:
        """The checkpoints, and what the criterion and the ranking look at."""
        step, dense = job.recipe.prune, found[DENSE].path
        assert step is not None
        by_curves = step.ranking == "sensitivity"
        threads = torch.get_num_threads()
        return PlanInputs(
            dense=dense,
            masked=found["masked"].path if "masked" in found else None,
            step=step,
            test_size=job.exp.test_size,
            images=job.images(step.images) if step.needs_images else None,
            loss=TrainingLoss(job.exp, step.images) if step.needs_gradients else None,
            curves=SensitivityInputs.of(job, dense, SensitivityStep()) if by_curves else None,
            seed=job.exp.seed,
            timed_on=(job.options.device, threads) if step.is_latency else None,
        )

    def run(
        self, given: PlanInputs, workspace: Workspace, interrupted: bool
    ) -> dict[str, Artefact]:
        """Writes `plan.json`. Raises YoloxError where a budget in time was not met."""
        found = _Planning(given, workspace).plan()
        plan = found.plan
        logger.info(
            "plan: {:.1%} of the parameters, {:.1%} of the MACs\n{}",
            plan.params_left,
            plan.macs_left,
            group_table(found.groups, plan.kept),
        )
        if found.failure:
            raise YoloxError(found.failure)
        target = workspace.out / "plan.json"
        write_json(target, _plan_json(found, given.step), indent=2)
        return {PLAN: Artefact(target)}


@dataclass(frozen=True)
class _Found:
    """A plan, what was measured of it, and why it is no good."""

    plan: Plan
    groups: Groups
    measured: Mapping[str, float]
    failure: str = ""


class _Planning:
    """One search for a plan. Images are read once for all rounds."""

    def __init__(self, given: PlanInputs, workspace: Workspace):
        self._given, self._step = given, given.step
        self._loaded: Loaded = workspace.load(given.dense)
        masked = checkpoint.read(given.masked) if given.masked is not None else self._loaded.content
        self._masks: Masks = masked.get("masks", {})
        self._groups = find_groups(self._loaded.model, given.test_size, self._step.exclude)
        warn_of_unused(self._step.exclude, self._groups.trace.layers)
        self._images = given.images.open(workspace.device) if given.images is not None else None
        self._workspace = workspace

    def plan(self) -> _Found:
        """The plan, for a budget in time or in size. Raises UsageError for one out of reach."""
        model, given, groups = self._loaded.model, self._given, self._groups
        if given.timed_on is None:
            return _Found(self._in_rounds(), groups, {})
        planner = Planner(
            groups, self._scores(model, groups, self._masks), self._step, self._curves()
        )
        device, _ = given.timed_on
        watch = Stopwatch(model, self._loaded.info, self._step, given.test_size, device)
        timed = plan_for_latency(planner, model, watch, self._step)
        measured = {"ms": timed.ms, "dense_ms": timed.dense_ms, "ratio": timed.ratio}
        return _Found(timed.plan, groups, measured, latency_miss(timed, self._step))

    def _in_rounds(self) -> Plan:
        model = self._loaded.model

        def scores(current: Network, groups: Groups, channels: Channels) -> Scores:
            return self._scores(current, groups, cut_masks(self._masks, model, channels))

        return plan_in_rounds(model, self._groups, self._step, scores, self._images, self._curves())

    def _curves(self) -> Curves:
        """Of the dense model, for all rounds; none where the ranking needs none."""
        if self._given.curves is None:
            return {}
        return measured_curves(self._given.curves, self._loaded, self._groups, self._workspace)

    def _scores(self, model: Network, groups: Groups, masks: Masks) -> Scores:
        loss = self._given.loss
        evidence = Evidence(
            model,
            groups,
            masks,
            batches=self._images,
            gradients=(lambda: loss.gradients(model)) if loss is not None else None,
            seed=self._given.seed,
        )
        return CHANNEL_CRITERIA[self._step.criterion](evidence)


def plan_in_rounds(
    model: Network,
    groups: Groups,
    step: PruneStep,
    scores: Callable[[Network, Groups, Channels], Scores],
    images: Batches | None,
    curves: Curves,
) -> Plan:
    """The plan for budgets in size, reached in as many rounds as the step says.

    scores: of the groups of a model, cut to these channels. images: for a step with rounds.
    """
    require_reachable(groups, step)
    dense = CostModel(groups).dense()
    channels: dict[str, dict[str, list[int]]] = {}
    current, small = model, groups
    for number in range(1, step.rounds + 1):
        now = _shares_of_round(step, number, dense, CostModel(small).dense())
        found = scores(current, small, channels)
        plan = Planner(small, found, replace(step, **now), curves, groups.sizes).within(now)
        channels = compose(channels, kept_channels(small, plan.kept))
        if number < step.rounds:
            assert images is not None
            student = Student(cut_channels(model, channels), model, channels, {})
            current = least_squares(student, groups.trace, images)
            small = find_groups(current, groups.trace.size_hw, step.exclude)
    kept = kept_units(groups, channels)
    return Plan(kept, CostModel(groups).after(kept), dense)


def _shares_of_round(step: PruneStep, number: int, dense: Cost, current: Cost) -> dict[str, Any]:
    """What may be left after a round, as shares of the model before it."""
    shares = {}
    for name, share in step.budgets.items():
        wanted = 1 - (1 - share) * number / step.rounds
        left = wanted * getattr(dense, name) / getattr(current, name)
        shares[name] = min(left, LARGEST_SHARE)
    return shares


def _plan_json(found: _Found, step: PruneStep) -> dict[str, Any]:
    plan = found.plan
    return {
        "budget": step.budgets,
        "criterion": step.criterion,
        "ranking": step.ranking,
        "params": plan.cost.params,
        "params_left": plan.params_left,
        "macs": plan.cost.macs,
        "macs_left": plan.macs_left,
        "measured": dict(found.measured),
        "groups": [
            {
                "name": group.name,
                "size": group.size,
                "kept": plan.kept[group.name],
                "layers": sorted({member.layer for member in group.members}),
            }
            for group in found.groups.groups
        ],
    }
