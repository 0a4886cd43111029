"""Latency and memory of the stages of a compression run, and backends that fail."""

import math

import pytest
import torch

from tests.tiny_models import SPECS, spread_scores
from yolox.benchmark.cases import BenchmarkSpec, Case, Model
from yolox.benchmark.rounds import Row, order_of
from yolox.benchmark.worker import Worker
from yolox.compress.report import speed
from yolox.compress.report.measure import (
    MeasureSpec,
    ReportRow,
    _is_timed,
    _note_side_branches,
    measure_models,
)
from yolox.compress.report.page import _latency_rows, _tiles
from yolox.compress.report.table import report_table
from yolox.compress.stage import Artefact
from yolox.engine import checkpoint
from yolox.errors import ExportError, YoloxError
from yolox.exp import get_exp
from yolox.families import build, spec_to_dict
from yolox.models.complexity import Complexity

CPU = torch.device("cpu")
STAGES = ("dense", "pruned", "merged")


@pytest.fixture
def exp(tiny_exp):
    return get_exp(exp_file=str(tiny_exp))


@pytest.fixture
def paths(exp, tmp_path):
    """The same weights as three stages; the first with training state."""
    torch.manual_seed(0)
    model = build(exp.detector_spec())
    spread_scores(model)
    content = {"model": model.state_dict(), "spec": spec_to_dict(exp.detector_spec())}
    found = {name: tmp_path / f"{name}.pth" for name in STAGES}
    for path in found.values():
        checkpoint.save(path, {**content, "optimizer": {"state": {}}})
    return found


@pytest.fixture
def fakes(monkeypatch):
    """No process is started: torch takes 10 ms a batch, ONNX Runtime cannot open its file."""
    prepared = []

    def prepare(model, plan, work, calibration):
        prepared.append((model.name, plan.backends, plan.batches))
        if "openvino" in plan.backends and model.name == "merged":
            raise ExportError("torch cannot export this model")
        assert "optimizer" not in checkpoint.read(model.path)
        size = Complexity(1, 1, 1.0)
        return [
            Case(model, model.path, backend, "fp32", batch, size, 1)
            for backend in plan.backends
            for batch in plan.batches
        ]

    def measure(cases, plan, device, at_once):
        assert plan.threads == torch.get_num_threads()
        for case in cases:
            broken = case.backend == "onnxruntime"
            ms = math.nan if broken else 10.0 * case.batch
            ratio = 0.5 if case.model.name == "merged" else 1.0
            error = "cannot be opened" if broken else None
            yield [Row(case, 1, latency_ms=ms, ratio=ratio, peak_mb=300.0, error=error)]

    monkeypatch.setattr(speed, "prepare", prepare)
    monkeypatch.setattr(speed, "measure", measure)
    return prepared


def test_all_stages_in_torch_the_ends_elsewhere(exp, paths, fakes):
    how = MeasureSpec(CPU, ("torch", "onnxruntime", "openvino"), evaluated=False)
    found = {name: Artefact(path) for name, path in paths.items()}
    (dense, pruned, merged), _ = measure_models(found, exp, how)
    outside = ["onnxruntime", "openvino"]
    assert fakes == [
        ("dense", ["torch"], (1, 8)),
        ("dense", outside, (1, 8)),
        ("pruned", ["torch"], (1,)),
        ("merged", ["torch"], (1, 8)),
        ("merged", outside, (1, 8)),
    ]
    assert dense.latency_ms == {"torch": 10.0, "openvino": 10.0}
    assert dense.latency_ms_batch8 == {"torch": 80.0, "openvino": 80.0}
    assert dense.peak_mb == {"torch": 300.0, "openvino": 300.0}
    assert (pruned.latency_ms, pruned.latency_ms_batch8) == ({"torch": 10.0}, {})
    assert merged.latency_ms == {"torch": 5.0}  # by the ratio, had it other rounds than the first
    assert dense.as_json()["peak_mb"] == dense.peak_mb


def test_a_backend_that_is_not_installed_is_left_out(exp, paths, fakes, monkeypatch):
    monkeypatch.setattr(speed, "missing_packages", lambda b: ["openvino"] * (b == "openvino"))
    rows = speed.measure_speed(paths, exp, ("torch", "openvino"), CPU)
    assert {row.case.backend for row in rows} == {"torch"}
    assert speed.measure_speed(paths, exp, (), CPU) == []


def test_reports_show_what_is_there():
    sizes = (None, None, 4, 4, 4.0, 4)
    first, last = ReportRow("dense", *sizes), ReportRow("merged", *sizes)
    first.latency_ms, last.latency_ms = {"torch": 10, "openvino": 4}, {"torch": 5, "onnxruntime": 2}
    first.latency_ms_batch8, last.latency_ms_batch8 = {"torch": 80}, {"torch": 40}
    first.peak_mb, last.peak_mb = {"torch": 300.4, "openvino": 250}, {"torch": 280}
    assert _latency_rows(first, last) == [
        ("torch", "1", "10.0", "5.0", "0.50", "300", "280"),
        ("openvino", "1", "4.0", "", "", "250", ""),
        ("onnxruntime", "1", "", "2.0", "", "", ""),
        ("torch", "8", "80.0", "40.0", "0.50", "", ""),
    ]
    assert [tile["name"] for tile in _tiles(first, last)][-1] == "torch, batch 1"
    assert "onnxruntime ms" in report_table([first, last])


def test_a_worker_that_dies_and_one_that_cannot_open(tmp_path):
    spec = SPECS["p5"]
    path = tmp_path / "m.pth"
    checkpoint.save(path, {"model": build(spec).state_dict(), "spec": spec_to_dict(spec)})
    model = Model("m", path, None, (64, 64))
    case = Case(model, path, "torch", "fp32", 1, Complexity(1, 1, 1.0), 1)
    order = order_of(case, BenchmarkSpec(), "cpu")
    worker, other = Worker(order), Worker(order_of(case, BenchmarkSpec(), "cuda:99"))
    worker.wait()
    found, peak_mb = worker.time_ms(2)
    assert len(found) == 2
    assert 50 < peak_mb < 2000
    worker._process.kill()
    with pytest.raises(YoloxError, match="signal 9"):
        worker.time_ms(1)
    with pytest.raises(YoloxError):
        other.wait()


def test_rows_of_the_same_shapes_are_timed_once_and_side_branches_named():
    def row(name, made_from, params):
        return ReportRow(name, None, None, params, params, float(params), 1, made_from)

    rows = [row("dense", None, 9), row("masked", "dense", 9), row("pruned", "dense", 5)]
    rows += [row("adapted", "pruned", 5), row("merged", "adapted", 5)]
    by_name = {one.name: one for one in rows}
    timed = [one.name for one in rows if _is_timed(one, by_name, rows[-1])]
    assert timed == ["dense", "pruned", "merged"]
    _note_side_branches(rows)
    assert {one.name: one.note for one in rows if one.note} == {
        "masked": "a side branch, merged was not made from it"
    }
