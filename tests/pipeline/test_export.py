"""Export, evaluate, detect, deploy and measure outside PyTorch: commands and mistakes."""

import json
import shutil

import onnx
import pytest
import torch

from tests.pipeline.runs import error_line
from yolox.cli.benchmark import main as benchmark_main
from yolox.cli.common import run
from yolox.cli.compress import main as prune_main
from yolox.cli.demo import main as demo_main
from yolox.cli.deploy import main as deploy_main
from yolox.cli.eval import main as eval_main
from yolox.cli.export import main as export_main
from yolox.cli.verify import main as verify_main
from yolox.engine import checkpoint
from yolox.errors import UsageError
from yolox.export.open import require_device_used
from yolox.export.quantize import OnnxQuantizer

NMS = ["--nms", "--conf", "0.0001"]


def _export(ckpt, target, *words):
    return run(export_main, ["-c", str(ckpt), "--output-name", str(target), *words])


@pytest.fixture
def exported(ckpt, tmp_path):
    target = tmp_path / "tiny.onnx"
    assert _export(ckpt, target, "--dynamic", "--decode_in_inference") == 0
    return target


def test_export_writes_what_it_proved(ckpt, tmp_path):
    target, facts = tmp_path / "sub" / "m.onnx", tmp_path / "facts.json"
    assert _export(ckpt, target, "--dynamic", "--ap", "--json", str(facts)) == 0
    found = json.loads(facts.read_text())
    assert found["bytes"] == target.stat().st_size
    assert found["parity"]["images"] == 6
    assert found["parity"]["score"] < 1e-3
    assert found["ap_source"] == pytest.approx(found["ap_exported"], abs=1e-3)
    assert [path.name for path in target.parent.iterdir()] == ["m.onnx"]


def test_an_exported_file_knows_its_source(exported, ckpt, tmp_path, capsys):
    other = tmp_path / "other.pth"
    checkpoint.save(other, {**checkpoint.read(ckpt), "class_names": list("abc")})
    assert run(verify_main, [str(exported), "--source", str(ckpt)]) == 0
    assert run(verify_main, [str(exported), "--source", str(other)]) == 1
    assert "source of tiny.onnx" in error_line(capsys)


@pytest.mark.parametrize("suffix", ["onnx", pytest.param("xml", marks=pytest.mark.slow)])
def test_int8_to_a_floor(ckpt, tmp_path, suffix, synthetic_dir):
    images = tmp_path / "images"
    shutil.copytree(synthetic_dir / "train2017", images)
    for path in list(images.glob("*.jpg"))[:4]:
        shutil.copy(path, images / f"more_{path.name}")
    target, facts = tmp_path / f"m.{suffix}", tmp_path / "facts.json"
    assert (
        _export(
            ckpt,
            target,
            "--int8",
            "--calibration",
            str(images),
            "--max-drop",
            "0.5",
            "--ap",
            "--json",
            str(facts),
        )
        == 0
    )
    found = json.loads(facts.read_text())
    assert (found["precision"], found["calibration_images"]) == ("int8", 16)
    assert found["trail"][0][0] == 0
    assert set(found["latency_ms"]) == {"float", "int8"}
    assert found["layers"] > 50
    assert found["ap_int8"] == pytest.approx(found["ap_exported"])
    rows = tmp_path / "b.json"
    assert run(benchmark_main, [str(target), "--rounds", "3", "--json", str(rows)]) == 0
    (row,) = json.loads(rows.read_text())
    backend = {"onnx": "onnxruntime", "xml": "openvino"}[suffix]
    assert (row["backend"], row["precision"], row["size"]) == (backend, "int8", [64, 96])
    assert row["error"] is None


def test_int8_with_nms_for_several_images(ckpt, tmp_path, monkeypatch):
    monkeypatch.setattr("yolox.export.calibration.FEWEST", 6)
    target, facts = tmp_path / "m.onnx", tmp_path / "facts.json"
    words = ["--nms", "--conf", "0.1", "--batch-size", "2"]
    assert _export(ckpt, target, "--int8", *words, "--json", str(facts)) == 0
    found = json.loads(facts.read_text())["parity"]
    assert found["compared"] > 0
    assert 0 < found["score"] < 0.5


@pytest.mark.slow  # as the int8 stage, see test_int8_stage.py
def test_int8_makes_layers_float_until_the_floor_holds(ckpt, tmp_path, monkeypatch):
    monkeypatch.setattr("yolox.export.calibration.FEWEST", 6)
    values = iter([0.5, 0.1, 0.2, 0.495, 0.3])  # the float file, then 0, 1, 2 float layers
    monkeypatch.setattr("yolox.export.run._measure", lambda *_: lambda _: next(values))
    target, facts = tmp_path / "m.onnx", tmp_path / "facts.json"
    words = ["--int8", "--max-drop", "0.01", "--json", str(facts)]
    assert _export(ckpt, target, *words) == 0
    found = json.loads(facts.read_text())
    assert found["trail"] == [[0, 0.1], [1, 0.2], [2, 0.495]]
    assert len(found["float_layers"]) == 2
    kept = {item.name: item.data_type for item in onnx.load(target).graph.initializer}
    assert all(
        kept[f"model.{name}.weight"] == onnx.TensorProto.FLOAT for name in found["float_layers"]
    )
    assert sorted(path.name for path in tmp_path.glob("*.onnx")) == ["m.onnx"]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_evaluation_is_the_same_in_every_backend(ckpt, tiny_exp, exported, tmp_path, backend):
    results = {}
    for name, words in {
        "torch": ["-c", str(ckpt)],
        "checkpoint": ["-c", str(ckpt), "--backend", backend],
        "file": ["-c", str(exported), "--backend", backend, "-f", str(tiny_exp)],
    }.items():
        path = tmp_path / f"{name}.json"
        assert run(eval_main, [*words, "--device", "cpu", "-b", "4", "--json", str(path)]) == 0
        results[name] = json.loads(path.read_text())
    for name in ("checkpoint", "file"):
        assert results[name]["backend"] == backend
        assert results[name]["AP"] == pytest.approx(results["torch"]["AP"], abs=1e-3)
        assert results[name]["params"] == results["torch"]["params"]
        assert results[name]["gflops"] == pytest.approx(results["torch"]["gflops"], rel=0.03)


def test_nms_in_the_graph_has_the_same_ap(ckpt, tiny_exp, tmp_path):
    target = tmp_path / "nms.onnx"
    assert _export(ckpt, target, *NMS, "--dynamic", "test_conf", "0.0001") == 0
    found = {}
    for name, words in {
        "torch": ["-c", str(ckpt)],
        "graph": ["-c", str(target), "-f", str(tiny_exp)],
    }.items():
        path = tmp_path / f"{name}.json"
        command = [*words, "--device", "cpu", "--conf", "0.0001", "--json", str(path)]
        assert run(eval_main, command) == 0
        found[name] = json.loads(path.read_text())["AP"]
    assert found["graph"] == pytest.approx(found["torch"], abs=1e-3)


def test_demo_and_deployment_take_exported_files(exported, tiny_exp, synthetic_dir, tmp_path):
    pictures = tmp_path / "pictures"
    command = [
        "image",
        "-f",
        str(tiny_exp),
        "-c",
        str(exported),
        "--path",
        str(synthetic_dir / "val2017"),
        "--out",
        str(pictures),
    ]
    assert run(demo_main, command) == 0
    assert len(list(pictures.iterdir())) == 6
    config = tmp_path / "deploy.json"
    answer = tmp_path / "answer.json"
    config.write_text(
        json.dumps(
            {
                "checkpoint": str(exported),
                "images": str(synthetic_dir / "val2017"),
                "size": [64, 96],
                "answer": str(answer),
                "workers": 0,
                "conf": 0.00001,
                "rectangular": False,
            }
        )
    )
    assert run(deploy_main, ["--config", str(config)]) == 0
    framework, parameters, *results = json.loads(answer.read_text())
    assert framework["framework"].startswith("onnxruntime")
    assert parameters["parameters"] > 1000
    assert results


def test_pruned_and_merged_checkpoints_are_exported(ckpt, tmp_path):
    out = tmp_path / "sparse"
    words = ["--ckpt", str(ckpt), "--out", str(out), "--until", "merge", "--no-recover"]
    words += ["--device", "cpu"]
    assert run(prune_main, words) == 0
    for name in ("merged", "adapted"):  # channels are gone in both, the second is not fused
        target = tmp_path / f"{name}.onnx"
        assert _export(out / f"{name}.pth", target) == 0
        assert target.is_file()


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_deployment_of_a_checkpoint_in_other_runtimes(ckpt, synthetic_dir, tmp_path, backend):
    config, answer = tmp_path / "deploy.json", tmp_path / "answer.json"
    config.write_text(
        json.dumps(
            {
                "checkpoint": str(ckpt),
                "images": str(synthetic_dir / "val2017"),
                "size": [64, 64],
                "answer": str(answer),
                "workers": 0,
                "conf": 0.1,
            }
        )
    )
    assert run(deploy_main, ["--config", str(config), "backend", backend]) == 0
    assert json.loads(answer.read_text())[0]["framework"].startswith(backend)


@pytest.mark.slow
def test_benchmark_of_namesakes_and_sizes(ckpt, tmp_path):
    other = tmp_path / "other" / ckpt.name
    other.parent.mkdir()
    content = checkpoint.read(ckpt)
    content["model"] = {k: torch.zeros_like(v) for k, v in content["model"].items()}
    checkpoint.save(other, content)
    rows = tmp_path / "b.json"
    assert (
        run(
            benchmark_main,
            [
                str(ckpt),
                str(other),
                "--backend",
                "torch",
                "--rounds",
                "3",
                "--size",
                "64",
                "96",
                "--json",
                str(rows),
            ],
        )
        == 0
    )
    found = json.loads(rows.read_text())
    assert [(r["model"], r["size"]) for r in found] == [
        ("dense", [64, 64]),
        ("dense", [96, 96]),
        ("other/dense", [64, 64]),
        ("other/dense", [96, 96]),
    ]
    assert all(row["error"] is None for row in found)
    assert found[0]["nonzero_params"] > found[2]["nonzero_params"] == 0


def test_benchmark_table_json_and_picture(ckpt, exported, tmp_path, capsys):
    rows, picture = tmp_path / "b.json", tmp_path / "b.png"
    assert (
        run(
            benchmark_main,
            [
                str(ckpt),
                str(exported),
                "--backend",
                "torch",
                "onnxruntime",
                "--rounds",
                "3",
                "--threads",
                "1",
                "--ap",
                "--json",
                str(rows),
                "--picture",
                str(picture),
            ],
        )
        == 0
    )
    found = json.loads(rows.read_text())
    assert [(r["model"], r["backend"]) for r in found] == [
        ("dense", "torch"),
        ("dense", "onnxruntime"),
        ("tiny.onnx", "onnxruntime"),
    ]
    assert all(row["latency_ms"] > 0 and row["error"] is None for row in found)
    assert found[0]["AP"] == pytest.approx(found[1]["AP"], abs=1e-3)
    assert found[0]["ratio"] == 1.0
    assert picture.is_file()
    assert "images/s" in capsys.readouterr().out


def test_experiment_names_are_measured_with_random_weights(tmp_path):
    rows = tmp_path / "b.json"
    words = ["yolox-nano", "--size", "64", "--rounds", "3", "--json", str(rows)]
    assert run(benchmark_main, words) == 0
    assert json.loads(rows.read_text())[0]["AP"] is None


WRONG = {
    "unknown backend": (["--backend", "onnx"], 2, "backend 'onnx' is none of"),
    "precision": (["--backend", "onnxruntime", "--bf16"], 2, "no bf16"),
    "size": (["--backend", "onnxruntime", "--tsize", "100"], 2, "not a multiple of 32"),
    "provider": (
        ["--backend", "onnxruntime", "--provider", "Nothing"],
        2,
        "'Nothing' is not there",
    ),
}


@pytest.mark.parametrize(("words", "code", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_runtimes(ckpt, capsys, words, code, message):
    assert run(eval_main, ["-c", str(ckpt), "--device", "cpu", *words]) == code
    assert message in error_line(capsys)


REFUSED = {
    "suffix": (["--output-name", "m.tflite"], 2, "m.tflite ends in neither .onnx nor .xml"),
    "opset": (["-o", "11"], 2, "opset 11 is not in 18..23"),
    "size": (["--tsize", "100"], 2, "not a multiple of 32"),
    "batch": (["--batch-size", "0"], 2, "--batch-size: 0 is less than 1"),
    "drop": (["--max-drop", "0.1"], 2, "--max-drop needs --int8"),
    "floor": (["--int8", "--max-drop", "1.5"], 2, "--max-drop: '1.5' is not a number from 0 to 1"),
    "both": (["--int8", "--fp16"], 2, "int8 and fp16 exclude each other"),
    "threshold": (["--nms", "--iou", "7"], 2, "--iou: '7' is not a number from 0 to 1"),
    "asked few": (["--int8", "--calibration-images", "8"], 2, "8 calibration images are less"),
    "few": (["--int8"], 3, "calibration needs at least 16 images, there are 12"),
    "no images": (["--images", "/nowhere"], 3, "images /nowhere: no such file or folder"),
    "no folder": (["--int8", "--calibration", "/nowhere"], 3, "/nowhere: no such file or folder"),
}


@pytest.mark.parametrize(("words", "code", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_wrong_exports(ckpt, tmp_path, capsys, monkeypatch, words, code, message):
    monkeypatch.chdir(tmp_path)
    assert run(export_main, ["-c", str(ckpt), *words]) == code
    assert message in error_line(capsys)
    assert not list(tmp_path.glob("*.onnx"))


def test_drift_exits_5_and_keeps_the_file_aside(ckpt, tmp_path, capsys, monkeypatch):
    def drifted(*_):
        from yolox.export.parity import Parity

        return Parity(images=1, score=0.5, box=0.0, lost=0.0, compared=100)

    monkeypatch.setattr("yolox.export.run.compare", drifted)
    target = tmp_path / "m.onnx"
    target.write_text("the old file")
    assert _export(ckpt, target) == 5
    assert "scores differ by 0.5" in error_line(capsys)
    assert target.read_text() == "the old file"
    assert (tmp_path / "m.rejected.onnx").is_file()


def test_int8_floor_that_cannot_hold_exits_5(ckpt, tmp_path, capsys, monkeypatch, synthetic_dir):
    monkeypatch.setattr("yolox.export.calibration.FEWEST", 6)
    asked, quantised, write = [], tmp_path / "quantised", OnnxQuantizer.write

    def written_once(self, path, float_layers):
        asked.append(len(float_layers))
        if not quantised.exists():
            write(self, quantised, float_layers)
        shutil.copy(quantised, path)

    monkeypatch.setattr(OnnxQuantizer, "write", written_once)
    values = iter([0.5] + [0.1] * 50)
    monkeypatch.setattr("yolox.export.run._measure", lambda *_: lambda _: next(values))
    target = tmp_path / "m.onnx"
    assert _export(ckpt, target, "--int8", "--max-drop", "0.01") == 5
    assert "0.4000 AP below the float model, 0.01 is allowed" in error_line(capsys)
    assert asked == [0, 1, 2, 4, 8, 16, 32, 64, 74]  # all but the predictions
    assert not target.exists()


def test_a_file_that_is_no_detector(tiny_exp, tmp_path, capsys):
    path = tmp_path / "text.onnx"
    path.write_text("nothing")
    assert run(eval_main, ["-f", str(tiny_exp), "-c", str(path), "--device", "cpu"]) == 4
    assert "text.onnx cannot be opened" in error_line(capsys)


def test_an_exported_file_does_not_name_its_experiment(exported, capsys):
    capsys.readouterr()
    assert run(eval_main, ["-c", str(exported), "--device", "cpu"]) == 2
    assert "name it with -f or -n" in error_line(capsys)


def test_fixed_size_needs_square_batches(ckpt, tmp_path, synthetic_dir, capsys):
    target = tmp_path / "fixed.onnx"
    assert _export(ckpt, target) == 0
    config = tmp_path / "deploy.json"
    config.write_text(
        json.dumps(
            {"checkpoint": str(target), "images": str(synthetic_dir / "val2017"), "size": [64, 64]}
        )
    )
    capsys.readouterr()
    assert run(deploy_main, ["--config", str(config)]) == 2
    assert "set rectangular false" in error_line(capsys)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["yolox-nono"], 2, "did you mean 'yolox-nano'"),
        (["absent.pth"], 4, "absent.pth does not exist"),
        (["yolox-nano", "--backend", "tensorflow"], 2, "backend 'tensorflow' is none of"),
        (["yolox-nano", "--size", "100"], 2, "not a multiple of 32"),
        (["yolox-nano", "--picture", "p.png"], 2, "--picture needs --ap"),
        (["yolox-nano", "--precision", "int8"], 2, "nothing to measure"),
    ],
)
def test_wrong_benchmarks(capsys, words, code, message):
    assert run(benchmark_main, words) == code
    assert message in error_line(capsys)


@pytest.mark.parametrize(
    ("device", "path", "backend", "refused"),
    [
        ("cuda", "m.pth", "openvino", True),
        ("cuda:1", "m.onnx", None, True),
        ("cuda", "m.pth", None, False),
        ("cuda", "m.pth", "compile", False),
        ("cpu", "m.onnx", None, False),
        (None, "m.onnx", "onnxruntime", False),
    ],
)
def test_a_device_that_the_backend_does_not_use_is_refused(device, path, backend, refused):
    if not refused:
        require_device_used(device, path, backend)
        return
    with pytest.raises(UsageError, match=f"'{device}' is for torch, and {path} runs in"):
        require_device_used(device, path, backend)
