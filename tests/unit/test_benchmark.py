"""Splits, rows, tables and pictures of a benchmark, and workers that time and that fail."""

import json
import math
from dataclasses import replace

import onnx
import pytest

from tests.tiny_models import SIZE, tiny_model
from yolox.benchmark.cases import BenchmarkSpec, Case, Model, find_model
from yolox.benchmark.rounds import Row, measure, splits
from yolox.benchmark.tables import frontier, pareto, table, write_rows
from yolox.errors import ModelError, UsageError
from yolox.export.onnx_graph import GraphSpec, save_onnx, to_onnx
from yolox.models.complexity import Complexity


def _case(name="m", backend="torch", batch=1, size=(64, 64), file=None, params=1000):
    model = Model(name, file, None, size)
    return Case(model, file, backend, "fp32", batch, Complexity(params, params // 2, 1e6), 4000)


def _row(latency, ap=None, **values):
    return Row(
        _case(**values),
        2,
        latency_ms=latency,
        spread=0.1,
        ratio=1.0,
        ratio_in_model=1.0,
        peak_mb=10.0,
        rounds=3,
        ap=ap,
    )


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "tiny.onnx"
    save_onnx(to_onnx(*tiny_model(), GraphSpec(SIZE, dynamic_batch=True)), path)
    return path


def test_splits_share_the_first_case():
    cases = [_case(backend=str(n)) for n in range(5)] + [_case(batch=8)]
    found = splits(cases, 3)
    names = [[case.backend for case in split] for split in found]
    assert names == [["0", "1", "2"], ["0", "3", "4"], ["torch"]]


def test_cases_take_turns_and_one_that_fails_is_a_row(onnx_file, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_text("nothing")
    cases = [
        _case("good", "onnxruntime", 2, SIZE, onnx_file),
        _case("good", "openvino", 2, SIZE, onnx_file),
        _case("broken", "onnxruntime", 2, SIZE, broken),
    ]
    cases[1] = replace(cases[1], model=cases[0].model)
    (rows,) = list(measure(cases, BenchmarkSpec(rounds=3, threads=1), "cpu", at_once=3))
    assert [row.error is None for row in rows] == [True, True, False]
    assert "broken.onnx cannot be opened" in rows[2].error
    first, second, _ = rows
    assert first.ratio == 1.0
    assert second.ratio == pytest.approx(second.latency_ms / first.latency_ms)
    assert second.ratio_in_model == second.ratio
    assert first.rounds == 3
    assert first.peak_mb > 10


def test_json_rows_have_the_stated_keys(tmp_path):
    row = _row(2.5)
    row.case.size._asdict()
    write_rows(tmp_path / "b.json", [row, Row(_case(), 2, error="died")])
    good, failed = json.loads((tmp_path / "b.json").read_text())
    expected = {
        "model",
        "backend",
        "precision",
        "batch",
        "size",
        "threads",
        "latency_ms",
        "spread",
        "ratio",
        "peak_mb",
        "file_bytes",
    }
    assert expected <= set(good)
    assert (good["latency_ms"], good["size"], good["params"], good["nonzero_params"]) == (
        2.5,
        [64, 64],
        1000,
        500,
    )
    assert (failed["latency_ms"], failed["error"]) == (None, "died")


def test_table_shows_images_per_second_and_failures():
    text = table([_row(4.0, ap=0.25, batch=8), Row(_case("slow"), 2, error="died")])
    assert "2000.0" in text
    assert "0.2500" in text
    assert "not measured: slow, torch fp32, batch 1, 64 x 64: died" in text


def test_frontier_is_what_nothing_beats():
    rows = [_row(1, 0.2), _row(2, 0.1), _row(3, 0.3), _row(4, 0.3)]
    assert frontier(rows) == [rows[0], rows[2]]


def test_picture(tmp_path):
    rows = [_row(10, 0.3, name="big", params=4000), _row(5, 0.2, name="small"), _row(3, None)]
    assert pareto(tmp_path / "p.png", rows)
    assert (tmp_path / "p.png").stat().st_size > 5000
    assert not pareto(tmp_path / "q.png", [_row(3, None)])
    assert not (tmp_path / "q.png").exists()


def test_only_pairs_that_exist():
    plan = BenchmarkSpec(backends=("torch", "onnxruntime"), precisions=("fp32", "bf16", "int8"))
    assert plan.pairs() == [
        ("torch", "fp32"),
        ("torch", "bf16"),
        ("onnxruntime", "fp32"),
        ("onnxruntime", "int8"),
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backends": ["onnxruntim"]}, "did you mean 'onnxruntime'"),
        ({"precisions": ["fp64"]}, "precision 'fp64' is none of"),
        ({"batches": [0]}, "batch size 0"),
        ({"rounds": 0}, "rounds 0"),
    ],
)
def test_wrong_plans(values, message):
    with pytest.raises(UsageError, match=message):
        BenchmarkSpec(**values)


def test_models_are_found_by_file_and_by_name(onnx_file, tmp_path):
    assert find_model("yolox-nano", None, None).size_hw == (416, 416)
    assert find_model("yolox-s", None, 320).size_hw == (320, 320)
    found = find_model(str(onnx_file), None, None)
    assert (found.name, found.size_hw) == ("tiny.onnx", SIZE)
    with pytest.raises(UsageError, match="fixed size"):
        find_model(str(onnx_file), None, 320)
    with pytest.raises(ModelError, match=r"absent\.pth does not exist"):
        find_model(str(tmp_path / "absent.pth"), None, None)
    with pytest.raises(UsageError, match="did you mean 'yolox-nano'"):
        find_model("yolox-nono", None, None)


def test_a_peers_file_is_taken_if_it_takes_images(tmp_path):
    peer = tmp_path / "peer.onnx"
    graph = onnx.parser.parse_graph("g (float[1,3,32,64] x) => (float[1,3,32,64] y) {y = Relu(x)}")
    onnx.save(onnx.helper.make_model(graph, ir_version=10), peer)
    found = find_model(str(peer), None, None)
    assert (found.size_hw, found.info.batch) == ((32, 64), 1)
    graph = onnx.parser.parse_graph("g (float[7] x) => (float[7] y) { y = Relu(x) }")
    onnx.save(onnx.helper.make_model(graph, ir_version=10), peer)
    with pytest.raises(ModelError, match=r"peer\.onnx is not a detector"):
        find_model(str(peer), None, None)
    peer.write_text("nothing")
    with pytest.raises(ModelError, match="is not an ONNX file"):
        find_model(str(peer), None, None)


def test_undefined_numbers_are_dashes():
    row = _row(1.0)
    case = Case(row.case.model, row.case.file, "torch", "fp32", 1, Complexity(1, 1, math.nan), 1)
    assert "-" in table([Row(case, 2, 1.0, 0.1, 1.0, 1.0, 1.0, 3)]).splitlines()[-1]
