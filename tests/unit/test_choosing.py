"""Images that choose are not those that are reported on, where the experiment sets some aside."""

from types import SimpleNamespace

import pytest
import torch

from yolox.compress.job import CompressionTask
from yolox.compress.report.measure import ReportRow
from yolox.compress.report.table import report_table
from yolox.compress.selection import Selection, SelectionRule, select
from yolox.engine.state import RunOptions
from yolox.exp import get_exp
from yolox.export import run as export_job
from yolox.export.fallback import QuantReport


@pytest.fixture
def task(tiny_exp, tmp_path):
    exp = get_exp(exp_file=str(tiny_exp))
    return CompressionTask(ckpt="dense.pth", exp=exp, out=tmp_path, options=RunOptions())


def test_the_validation_images_choose_where_none_are_set_aside(task):
    assert task.selection_set.paths == task.exp.get_eval_dataset().paths


def test_images_set_aside_choose_and_are_neither_trained_nor_reported_on(task):
    task.exp.select_share = 0.25
    chosen = set(task.selection_set.paths)
    assert len(chosen) == 3
    assert not chosen & set(task.exp.get_dataset().paths)
    assert not chosen & set(task.exp.get_eval_dataset().paths)


def test_the_best_score_is_kept_and_of_equal_ones_the_last():
    models = {name: torch.nn.Identity() for name in ("pruned", "fold", "least_squares")}
    scores = dict(zip(models.values(), (0.1, 0.3, 0.3), strict=True))
    assert select(models, "AP", scores.__getitem__).name == "least_squares"
    scores[models["pruned"]] = 0.4
    choice = select(models, "AP", scores.__getitem__)
    assert choice.model is models["pruned"]
    assert choice.scores == {"pruned": 0.4, "fold": 0.3, "least_squares": 0.3}


def test_without_labels_or_images_the_last_is_kept(task):
    models = {"pruned": torch.nn.Identity(), "fold": torch.nn.Identity()}
    rule = SelectionRule(None, None, task.distance)
    assert rule.select(models, torch.nn.Identity(), None, torch.device("cpu")) == Selection(
        models["fold"], "fold", {}, "nothing measured"
    )


class Measure:
    """Notes how it is asked."""

    def __init__(self):
        self.asked = []

    def of(self, model, info, device, int8):
        self.asked.append(int8)
        return 0.5


@pytest.mark.parametrize("int8", [False, True])
def test_what_is_for_an_int8_file_is_compared_with_8_bits(task, int8):
    models = {"before": torch.nn.Identity(), "after": torch.nn.Identity()}
    ap = Measure()
    rule = SelectionRule(ap, None, task.distance, int8)
    assert rule.select(models, models["before"], None, torch.device("cpu")).name == "after"
    assert ap.asked == [int8, int8]


@pytest.mark.parametrize(("share", "images"), [(0.0, 6), (0.25, 3)])
def test_the_floor_of_int8_is_chosen_on_the_same_images(task, monkeypatch, share, images):
    task.exp.select_share = share
    seen = []
    monkeypatch.setattr(
        export_job, "_measure", lambda job, dataset: seen.append(len(dataset)) or (lambda b: 0.5)
    )
    job = SimpleNamespace(exp=task.exp)
    floor = export_job._floor(job, export_job.Int8(max_drop=0.01))
    assert seen == [images]
    assert (floor.max_drop, floor.measure(None)) == (0.01, 0.5)
    assert ("set aside" in floor.chosen_on) == bool(share)
    assert f"that AP is of {floor.chosen_on}" in QuantReport(chosen_on=floor.chosen_on).lines()


def test_the_table_compares_with_the_control_and_says_who_chose():
    rows = [
        ReportRow("dense", 0.4, 0.6, 10, 10, 1e9, 100),
        ReportRow("control", 0.45, 0.6, 10, 10, 1e9, 100),
        ReportRow("recovered", 0.43, 0.6, 5, 5, 5e8, 50, note="after is kept"),
    ]
    difference = {"value": -0.02, "low": -0.031, "high": None}
    rows[2].AP_differences = {"dense": {**difference, "value": 0.03}, "control": difference}
    table = report_table(rows, "Chosen on 3 images.")
    assert "AP - control (95 %)" in table
    assert "-0.0200" in table
    assert "recovered: after is kept." in table
    assert table.endswith("Chosen on 3 images.")
