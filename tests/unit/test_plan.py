"""Plans: budgets that hold after rounding, floors, rankings, what cannot be reached."""

from dataclasses import replace

import pytest
import torch

from tests.logs import logged
from tests.tiny_models import SPECS
from yolox.compress.groups import find_groups, kept_channels, warn_of_unused
from yolox.compress.importance.curves import Curve
from yolox.compress.planner import Planner
from yolox.compress.steps import RANKINGS, PruneStep
from yolox.errors import UsageError
from yolox.families import build
from yolox.models.channels import cut_channels
from yolox.models.complexity import complexity
from yolox.models.fuse import fuse

SIZE = (64, 64)


@pytest.fixture(scope="module", params=SPECS)
def groups(request):
    torch.manual_seed(0)
    return find_groups(build(SPECS[request.param]), SIZE)


def drawn(groups):
    generator = torch.Generator().manual_seed(0)
    return {g.name: torch.rand(g.size, generator=generator) for g in groups.groups}


@pytest.mark.parametrize("ranking", RANKINGS)
@pytest.mark.parametrize(("budget", "share"), [("params", 0.5), ("macs", 0.7)])
def test_budgets_hold_and_are_used(groups, ranking, budget, share):
    step = PruneStep(**{budget: share}, ranking=ranking, round_to=4)
    curves = {g.name: Curve(g.size, (1,), (g.size / 100,)) for g in groups.groups}
    plan = Planner(groups, drawn(groups), step, curves).within({budget: share})
    left = plan.params_left if budget == "params" else plan.macs_left
    assert share - 0.06 < left <= share


def test_two_budgets_hold_at_once(groups):
    step = PruneStep(params=0.5, macs=0.5, round_to=4)
    plan = Planner(groups, drawn(groups), step).within(step.budgets)
    assert max(plan.params_left, plan.macs_left) <= 0.5
    assert max(plan.params_left, plan.macs_left) > 0.44


@pytest.mark.parametrize(
    ("budgets", "said"),
    [
        ({}, "prune needs one of params, macs, latency, latency_ms"),
        ({"params": 0.5, "latency": 0.5}, "one budget where time counts, not params and latency"),
        ({"macs": 1.0}, "macs 1.0 is not between 0 and 1"),
    ],
)
def test_budgets_that_cannot_be(budgets, said):
    with pytest.raises(ValueError, match=said):
        PruneStep(**budgets)


@pytest.mark.parametrize("name", SPECS)
def test_a_plan_costs_what_it_says(name):
    model = build(SPECS[name])
    groups = find_groups(model, SIZE)
    plan = Planner(groups, drawn(groups), PruneStep(params=0.5)).within({"params": 0.5})
    small = fuse(cut_channels(model, kept_channels(groups, plan.kept)))
    assert complexity(small, SIZE).params == plan.cost.params


def test_the_lowest_scores_leave(groups):
    scores = drawn(groups)
    plan = Planner(groups, scores, PruneStep(params=0.5)).within({"params": 0.5})
    for group in groups.groups:
        kept = plan.kept[group.name]
        gone = sorted(set(range(group.size)) - set(kept))
        if gone:
            assert scores[group.name][kept].min() >= scores[group.name][gone].max()


def test_counts_are_multiples_and_floors_hold(groups):
    step = PruneStep(params=0.3, round_to=8, floor=0.25)
    plan = Planner(groups, drawn(groups), step).within({"params": 0.3})
    for group in groups.groups:
        count = len(plan.kept[group.name])
        multiple = max(m for m in (1, 2, 4, 8) if m == 1 or group.size >= 4 * m)
        assert count % multiple == 0 or count == group.size
        assert count >= 0.25 * group.size


def test_layer_ranking_cuts_the_same_share_everywhere(groups):
    step = PruneStep(macs=0.5, ranking="layer", round_to=1, floor=0.0)
    plan = Planner(groups, drawn(groups), step).within({"macs": 0.5})
    shares = [len(plan.kept[g.name]) / g.size for g in groups.groups if g.size >= 16]
    assert max(shares) - min(shares) < 0.1


def test_impossible_budgets_name_the_smallest(groups):
    step = PruneStep(params=0.02, floor=0.5)
    with pytest.raises(UsageError, match=r"budget params 0\.02 cannot be reached: 0\.\d+ is the"):
        Planner(groups, drawn(groups), step).within({"params": 0.02})


def test_floor_and_multiples_are_those_of_the_dense_model_in_every_round():
    torch.manual_seed(0)
    model = build(SPECS["p6"]).eval()
    dense = find_groups(model, SIZE)
    sizes = {group.name: group.size for group in dense.groups}
    step = PruneStep(params=0.6, ranking="layer", round_to=8, floor=0.4)
    groups = dense
    for _ in range(3):
        plan = Planner(groups, drawn(groups), step, whole=sizes).within(step.budgets)
        model = cut_channels(model, kept_channels(groups, plan.kept))
        groups = find_groups(model, SIZE)
        step = replace(step, params=0.9)
    assert sum(group.size for group in groups.groups) < 0.8 * sum(sizes.values())
    for group in groups.groups:
        assert group.size >= 0.4 * sizes[group.name]
        if sizes[group.name] >= 32 and group.size < sizes[group.name]:
            assert group.size % 8 == 0


def test_a_word_that_excludes_nothing_is_said():
    with logged() as said:
        warn_of_unused(["head", "haed"], ["head.stem", "neck.conv"])
    assert [line.split(":")[1].split()[0] for line in said] == ["'haed'"]
