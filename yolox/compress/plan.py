"""The plan stage: which channels stay."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from loguru import logger
from torch import Tensor

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
from yolox.compress.importance.gradients import loss_gradients
from yolox.compress.latency import Stopwatch, latency_miss, plan_for_latency
from yolox.compress.least_squares import Student, least_squares
from yolox.compress.ledger import Files
from yolox.compress.planner import Plan, Planner, require_reachable
from yolox.compress.sensitivity import Curves, SensitivityStep, measured_curves
from yolox.compress.steps import PruneStep
from yolox.compress.workspace import DENSE, PLAN, Workspace
from yolox.data.coco import load_json
from yolox.engine import checkpoint
from yolox.engine.restore import restore_content
from yolox.errors import UsageError, YoloxError
from yolox.export.open import model_info
from yolox.files import write_json
from yolox.models.channels import compose, cut_channels, cut_masks
from yolox.models.network import Network

LARGEST_SHARE = 1 - 1e-9  # a budget is less than all

Masks = Mapping[str, Tensor]


def plan_stage(workspace: Workspace, files: Files, begun: bool) -> Files:
    """Choose the channels. Raises YoloxError where a latency budget was not met."""
    step = workspace.recipe.prune
    assert step is not None
    content, model = workspace.load(files[DENSE])
    masked = checkpoint.read(files["masked"]) if "masked" in files else content
    masks = masked.get("masks", {})
    groups = find_groups(model, workspace.exp.test_size, step.exclude)
    warn_of_unused(step.exclude, groups.trace.layers)
    facts: dict[str, float] = {}
    failure = ""
    if step.is_latency:
        curves = _curves(workspace, model, groups)
        planner = Planner(groups, _scores(workspace, model, groups, masks), step, curves)
        info = model_info(restore_content(content, files[DENSE]))
        device, size_hw = workspace.job.options.device, workspace.exp.test_size
        timed = plan_for_latency(
            planner, model, Stopwatch(model, info, step, size_hw, device), step
        )
        facts = {"ms": timed.ms, "dense_ms": timed.dense_ms, "ratio": timed.ratio}
        plan, failure = timed.plan, latency_miss(timed, step)
    else:
        plan = _plan_in_rounds(workspace, model, groups, masks)
    logger.info(
        "plan: {:.1%} of the parameters, {:.1%} of the MACs\n{}",
        plan.params_left, plan.macs_left, group_table(groups, plan.kept),
    )  # fmt: skip
    if failure:
        raise YoloxError(failure)
    target = workspace.job.out / "plan.json"
    write_json(target, _plan_json(plan, groups, step, facts), indent=2)
    return {PLAN: target}


def _plan_in_rounds(workspace: Workspace, model: Network, groups: Groups, masks: Masks) -> Plan:
    """The plan for budgets in size, reached in as many rounds as the step says."""
    step = workspace.recipe.prune
    assert step is not None
    require_reachable(groups, step)
    dense = CostModel(groups).dense()
    channels: dict[str, dict[str, list[int]]] = {}
    current, small = model, groups
    curves = _curves(workspace, model, groups)
    for number in range(1, step.rounds + 1):
        now = _shares_of_round(step, number, dense, CostModel(small).dense())
        scores = _scores(workspace, current, small, cut_masks(masks, model, channels))
        plan = Planner(small, scores, replace(step, **now), curves, groups.sizes).within(now)
        channels = compose(channels, kept_channels(small, plan.kept))
        if number < step.rounds:
            student = Student(cut_channels(model, channels), model, channels, {})
            current = least_squares(student, groups.trace, workspace.images(step.images))
            small = find_groups(current, workspace.exp.test_size, step.exclude)
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


def _curves(workspace: Workspace, model: Network, groups: Groups) -> Curves:
    """Of the dense model, for all rounds; none where the ranking needs none."""
    step = workspace.recipe.prune
    assert step is not None
    needed = step.ranking == "sensitivity"
    return measured_curves(workspace, model, groups, SensitivityStep()) if needed else {}


def _scores(workspace: Workspace, model: Network, groups: Groups, masks: Masks) -> Scores:
    step = workspace.recipe.prune
    assert step is not None
    evidence = Evidence(
        model, groups, masks,
        batches=workspace.images(step.images) if step.needs_images else None,
        gradients=lambda: loss_gradients(model, workspace.exp, step.images),
        seed=workspace.exp.seed,
    )  # fmt: skip
    return CHANNEL_CRITERIA[step.criterion](evidence)


def _plan_json(plan: Plan, groups: Groups, step: PruneStep, facts: Any) -> dict[str, Any]:
    return {
        "budget": step.budgets,
        "criterion": step.criterion,
        "ranking": step.ranking,
        "params": plan.cost.params, "params_left": plan.params_left,
        "macs": plan.cost.macs, "macs_left": plan.macs_left,
        "measured": facts,
        "groups": [
            {
                "name": group.name, "size": group.size, "kept": plan.kept[group.name],
                "layers": sorted({member.layer for member in group.members}),
            }
            for group in groups.groups
        ],
    }  # fmt: skip


def read_plan(path: Path, groups: Groups) -> dict[str, list[int]]:
    """The kept units of a plan file. Raises UsageError where it does not fit the model."""
    known = groups.sizes
    kept = {}
    for entry in load_json(path)["groups"]:
        name = entry["name"]
        if known.get(name) != entry["size"]:
            raise UsageError(f"{path}: group {name} of {entry['size']} is not one of this model's")
        kept[name] = entry["kept"]
    return kept
