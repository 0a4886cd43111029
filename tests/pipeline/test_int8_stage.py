"""The int8 stage: the merged model as an INT8 file, measured as a row of the report."""

import json

import pytest

from tests.pipeline.runs import error_line
from yolox.cli.common import run
from yolox.cli.compress import main as prune_main
from yolox.cli.verify import main as verify_main
from yolox.compress.report.read import read_report
from yolox.compress.selection import ApMeasure

MASKED = "mask: {share: 0.3, criterion: magnitude}\nadapt: null"


@pytest.fixture
def command(tmp_path, ckpt, synthetic_dir, monkeypatch):
    """Masks, merges and quantises; 12 images are enough to calibrate with."""
    monkeypatch.setattr("yolox.export.calibration.FEWEST", 6)
    monkeypatch.setattr("yolox.compress.run.FEWEST", 6)

    def call(int8, *words, backends="torch", before=MASKED):
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(f"{before}\nint8: {int8}\n")
        given = ["--ckpt", str(ckpt), "--recipe", str(recipe), "--out", str(tmp_path / "out")]
        quick = ["--backends", backends, "--resamples", "0", "--device", "cpu"]
        return run(prune_main, [*given, *quick, *words, "data_dir", str(synthetic_dir)])

    call.out = tmp_path / "out"
    return call


def facts(command):
    return json.loads((command.out / "int8.json").read_text())


def test_the_file_is_a_row_beside_float_models_in_its_runtime(command, capsys):
    assert command("{max_drop: null}") == 0
    dense, _, merged, int8 = read_report(command.out / "report.json").rows
    assert (int8.name, int8.made_from, int8.macs) == ("int8", "merged", merged.macs)
    assert int8.file_bytes == (command.out / "int8.onnx").stat().st_size
    assert int8.AP is not None
    assert int8.AP_differences == {} or "dense" in int8.AP_differences
    assert int8.note == f"0 of {facts(command)['layers']} layers are float"
    assert set(int8.latency_ms) == {"onnxruntime"}
    assert set(dense.latency_ms) == set(merged.latency_ms) == {"torch", "onnxruntime"}
    capsys.readouterr()
    assert command("{max_drop: null}", "--until", "int8") == 0
    assert "int8: done before, kept" in capsys.readouterr().err
    assert run(verify_main, [str(command.out)]) == 0


def test_nothing_else_has_to_be_taken_away(command, trainer):
    """A recipe may prepare the dense model for 8 bits and quantise it."""
    before = "recover: {max_epoch: 1, fake_int8: true}"
    assert command("{max_drop: null}", "--no-eval", backends="none", before=before) == 0
    ((exp, _),) = trainer.calls
    assert exp.fake_int8
    rows = read_report(command.out / "report.json").rows
    assert [row.name for row in rows] == ["dense", "recovered", "merged", "int8"]
    assert rows[2].nonzero_params == rows[0].nonzero_params
    assert rows[3].file_bytes < 0.5 * rows[0].file_bytes


def test_too_few_images_are_noticed_before_the_work(command, monkeypatch, capsys):
    monkeypatch.setattr("yolox.compress.run.FEWEST", 13)
    assert command("{}") == 3
    assert "at least 13 images, there are 12" in error_line(capsys)
    assert not (command.out / "mask.pth").exists()


def test_layers_stay_float_until_the_floor_holds(command, monkeypatch):
    seen = []

    def of_backend(self, backend):
        seen.append(len(self.labelled.dataset))
        return {1: 0.5, 2: 0.3}.get(len(seen), 0.495)  # float, every layer quantised, one float

    monkeypatch.setattr(ApMeasure, "of_backend", of_backend)
    assert command("{}", "--until", "int8") == 0
    found = facts(command)
    assert (found["ap_float"], found["ap_int8"], found["max_drop"]) == (0.5, 0.495, 0.01)
    assert len(found["float_layers"]) == 1
    assert set(seen) == {6}  # the images that choose


def test_openvinos_file_has_two_parts(command):
    assert command("{runtime: openvino, max_drop: null}", "--until", "int8") == 0
    assert {"int8.xml", "int8.bin"} <= {path.name for path in command.out.iterdir()}


@pytest.mark.parametrize(
    ("int8", "message"),
    [
        ("{runtime: torch}", "runtime 'torch' is none of onnxruntime, openvino"),
        ("{max_drop: 1.5}", "max_drop 1.5 is not in 0..1"),
        ("{images: 8}", "8 images are less than 16"),
    ],
)
def test_what_cannot_be_is_named(command, int8, message, capsys):
    assert command(int8) == 2
    line = error_line(capsys)
    assert "int8" in line
    assert message in line
