"""Sensitivity curves: nothing where units are superfluous, more where they matter, and kept."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.tiny_models import SPECS, Net, Noise, spread_scores
from tests.unit.test_groups import Concat, conv, randomised
from yolox.compress.groups import find_groups
from yolox.compress.heatmap import sensitivity_table, write_csv, write_heatmap
from yolox.compress.importance import reconstruction as reconstruct
from yolox.compress.importance.curves import (
    Curve,
    OutputLoss,
    compensated,
    measure_curve,
    removed_counts,
)
from yolox.compress.importance.reconstruction import group_readers, reader_systems, removals
from yolox.compress.least_squares import recalibrate
from yolox.compress.planner import Planner
from yolox.compress.sensitivity import CurveStore
from yolox.compress.steps import PruneStep, SensitivityStep
from yolox.families import build
from yolox.families.yolox import YoloxLoss
from yolox.families.yolox.distance import output_distance

SIZE = (32, 32)
IMAGES = Noise(SIZE, 8)
HALVES = (0.25, 0.5, 0.75)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class Pair(Net):
    """The second half of the first layer's channels repeats the first, but for a shift."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = conv(3, 8, 3), conv(8, 6), nn.Conv2d(6, 4, 1)

    def raw(self, x):
        return self.out(self.b(self.a(x / 100)))


def repeating():
    model = randomised(Pair())
    model.a[0].weight.data[4:] = model.a[0].weight.data[:4]
    for tensor in (model.a[1].weight.data, model.a[1].bias.data, *buffers(model.a[1])):
        tensor[4:] = tensor[:4]
    return model


def buffers(norm):
    return norm.running_mean, norm.running_var


def outputs(model):
    with torch.no_grad():
        return torch.cat([model(x).flatten() for x in IMAGES()])


@pytest.mark.parametrize("metric", ["error", "difference"])
def test_superfluous_units_cost_nothing(metric):
    model = repeating()
    groups = find_groups(model, SIZE)
    group = next(g for g in groups.groups if g.name == "a.0")
    before = outputs(model)
    damage = None if metric == "error" else lambda: float((outputs(model) - before).var())
    curve = measure_curve(model, group, reader_systems(model, groups, IMAGES), HALVES, damage)
    assert (curve.size, curve.units) == (8, (2, 4, 6))
    lost = np.array(curve.losses) / (float(before.var()) if damage else 1.0)
    assert lost[:2].max() < 2e-3
    assert lost[2] > 10 * lost[:2].max()
    assert torch.equal(outputs(model), before)  # put back


def test_dead_units_that_send_a_constant_cost_nothing():
    model = randomised(Pair())
    model.a[1].weight.data[:4] = 0.0
    model.a[1].bias.data[:4] = 2.0
    groups = find_groups(model, SIZE)
    group = next(g for g in groups.groups if g.name == "a.0")
    before = outputs(model)
    curve = measure_curve(
        model,
        group,
        reader_systems(model, groups, IMAGES),
        (0.5, 0.75),
        lambda: float((outputs(model) - before).abs().max()),
    )
    assert curve.losses[0] < 1e-3 < 0.01 < curve.losses[1]


def test_what_matters_more_has_the_higher_curve():
    model = randomised(Concat())
    for reader in (model.first, model.second):  # they hardly look at `b`
        reader[0].weight.data[:, 8:14] *= 0.05
    groups = find_groups(model, SIZE)
    systems = reader_systems(model, groups, IMAGES)
    curves = {g.name: measure_curve(model, g, systems, HALVES) for g in groups.groups}
    assert all(a > 5 * b for a, b in zip(curves["a.0"].losses, curves["b.0"].losses, strict=True))


def test_errors_together_are_those_of_the_weights():
    """What removals add up to is what the solved weights leave of the answers' variance."""
    model = randomised(Pair())
    groups = find_groups(model, SIZE)
    group = next(g for g in groups.groups if g.name == "a.0")
    system = reader_systems(model, groups, IMAGES)["b.0"]
    readers = group_readers(group, {"b.0": system})
    total = 0.0
    for removal in removals(group, readers, stops=(3,)):
        total += removal.together
        change = readers[0].weight - system.weight
        expected = torch.trace(change @ torch.linalg.inv(system.inverse) @ change.T)
        assert total == pytest.approx(float(expected) / system.variance, rel=1e-6)


def test_output_loss_is_that_of_the_changed_model():
    model = build(SPECS["p5"]).eval()
    spread_scores(model)
    images = Noise((64, 64), 4)
    model = recalibrate(model, images)
    groups = find_groups(model, (64, 64))
    systems = reader_systems(model, groups, images)
    damage = OutputLoss(model, groups.trace, images, YoloxLoss(model.strides).distance)
    for group in (groups.groups[0], groups.groups[-1], groups.groups[5]):
        assert damage.of(group)() == pytest.approx(0.0, abs=1e-5)
        readers = group_readers(group, systems)
        next(removals(group, readers, stops=(group.size // 2,)))
        with torch.no_grad():
            wanted = [model.raw(x) for x in images()]
            with compensated(model, readers):
                found = damage.of(group)()
                pairs = zip(images(), wanted, strict=True)
                direct = [float(output_distance(model.raw(x), w, model.strides)) for x, w in pairs]
        assert found == pytest.approx(sum(direct) / len(direct), rel=0.01)
        assert found > 0


@pytest.mark.parametrize(
    ("units", "losses", "expected"),
    [
        ((2, 4), (2.0, 8.0), [1, 1, 3, 3, 3, 3]),  # the last slope goes on
        ((2, 4), (6.0, 8.0), [2, 2, 2, 2, 2, 2]),  # the hull is below the first point
        ((2, 4), (-1.0, 4.0), [0, 0, 2, 2, 2, 2]),
        ((1, 2, 5), (0.0, 3.0, 3.0), [0, 0.75, 0.75, 0.75, 0.75, 0.75]),
        ((6,), (3.0,), [0.5] * 6),
        ((1, 2, 3), (1.0, 3.0, 5.5), [1, 2, 2.5, 2.5, 2.5, 2.5]),  # every point is a corner
        ((1, 2, 3), (1.0, 4.5, 7.0), [1, 3, 3, 3, 3, 3]),
    ],
)
def test_marginals_are_slopes_of_the_lower_hull(units, losses, expected):
    curve = Curve(6, units, losses)
    assert curve.marginals(6).tolist() == pytest.approx(expected)
    assert curve.marginals(4).tolist() == pytest.approx(expected[2:])


def test_counts_of_small_groups_are_distinct():
    assert removed_counts(64, HALVES) == [16, 32, 48]
    assert removed_counts(3, (0.125, 0.25, 0.5, 0.75)) == [1, 2]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"metric": "los"}, "did you mean 'loss'"),
        ({"ratios": ()}, "at least one"),
        ({"ratios": (0.5, 1.0)}, "ratio 1 is not between 0 and 1"),
        ({"ratios": (0.5, 0.25)}, "0.25 after 0.5 does not ascend"),
        ({"images": 0}, "images 0 is not positive"),
    ],
)
def test_what_cannot_be_measured_is_said(values, said):
    with pytest.raises(ValueError, match=said):
        SensitivityStep(**values)


def test_the_ranking_spares_sensitive_groups():
    groups = find_groups(build(SPECS["p5"]), (64, 64))
    scores = {group.name: 1 + torch.rand(group.size) for group in groups.groups}
    spared = {group.name for group in groups.groups[::3]}
    curves = {
        g.name: Curve(g.size, (g.size // 2,), (1e8 if g.name in spared else 1.0,))
        for g in groups.groups
    }
    step = PruneStep(macs=0.7, ranking="sensitivity", round_to=1)
    plan = Planner(groups, scores, step, curves).within(step.budgets)
    assert all(len(plan.kept[g.name]) == g.size for g in groups.groups if g.name in spared)
    for group in groups.groups:  # within a group the criterion decides
        kept = plan.kept[group.name]
        gone = sorted(set(range(group.size)) - set(kept))
        assert not gone or scores[group.name][kept].min() >= scores[group.name][gone].max()


CURVES = {
    f"backbone.stage{number}.conv": Curve(32, (8, 16), (10.0**-number, 3.0 * 10.0**-number))
    for number in range(7)
}


def test_curves_are_kept_and_dropped_with_other_inputs(tmp_path, capsys):
    path = tmp_path / "curves.json"
    store = CurveStore(path, {"size": 32, "metric": "loss"})
    for name, curve in CURVES.items():
        store.add(name, curve)
    assert CurveStore(path, {"size": 32, "metric": "loss"}).curves == CURVES
    assert CurveStore(path, {"size": 64, "metric": "loss"}).curves == {}
    content = json.loads(path.read_text())
    del content["groups"]["backbone.stage3.conv"]
    path.write_text(json.dumps(content))
    left = CurveStore(path, {"size": 32, "metric": "loss"}).curves
    assert set(CURVES) - set(left) == {"backbone.stage3.conv"}
    path.write_text("{}")
    assert CurveStore(path, {"size": 32, "metric": "loss"}).curves == {}


def test_table_csv_and_heatmap(tmp_path):
    ratios = (0.25, 0.5)
    rows = sensitivity_table(CURVES, ratios).splitlines()
    assert "-25.0%" in rows[0]
    assert "| *  | backbone.stage0.conv" in rows[2]  # the most sensitive first
    assert "backbone.stage6.conv" in rows[-1]
    write_csv(tmp_path / "s.csv", CURVES, ratios)
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines[:2] == ["group,units,0.25,0.5", "backbone.stage0.conv,32,1.0,3.0"]
    write_heatmap(tmp_path / "s.png", CURVES, ratios, "loss")
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.format == "PNG"
        assert 600 < picture.width < 1500
        assert 200 < picture.height < 1500
    flat = {"a": Curve(4, (1, 2), (0.0, -1.0))}  # nothing was lost
    write_heatmap(tmp_path / "flat.png", flat, ratios, "loss")


def test_layers_are_measured_together_as_far_as_memory_allows(monkeypatch):
    model = nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(5)))
    names = [str(number) for number in range(5)]
    monkeypatch.setattr(reconstruct, "LARGEST_SUMS", 2 * 8.0 * 4 * (4 + 4))  # bytes of two layers
    assert list(reconstruct._chunks(model, names)) == [["0", "1"], ["2", "3"], ["4"]]
    monkeypatch.setattr(reconstruct, "LARGEST_SUMS", 1.0)
    assert list(reconstruct._chunks(model, names)) == [[name] for name in names]
