"""What users get wrong, each with its exit code and one line that names the file, key or value."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.pipeline.runs import error_line
from yolox.cli.__main__ import dispatch
from yolox.cli.common import run
from yolox.cli.compress import main as prune_main
from yolox.cli.demo import main as demo_main
from yolox.cli.deploy import main as deploy_main
from yolox.cli.eval import main as eval_main
from yolox.cli.mask import main as mask_main
from yolox.cli.merge import main as merge_main
from yolox.cli.train import main as train_main
from yolox.engine import checkpoint
from yolox.engine.restore import restore
from yolox.exp import get_exp

ROOT = Path(__file__).resolve().parents[2]
CPU = ["--device", "cpu"]


@pytest.fixture
def data(tmp_path, synthetic_dir):
    """A data set that a test may damage."""
    folder = tmp_path / "data"
    shutil.copytree(synthetic_dir, folder)
    return folder


def _train(tiny_exp, *words):
    return run(train_main, [*CPU, "-f", str(tiny_exp), "-b", "4", "-l", "none", *words])


def test_missing_data_folder(tiny_exp, capsys):
    assert _train(tiny_exp, "data_dir", "/nowhere") == 3
    assert "data folder /nowhere does not exist" in error_line(capsys)


def test_json_cut_in_half(tiny_exp, data, capsys):
    path = data / "annotations/instances_train2017.json"
    path.write_text(path.read_text()[: path.stat().st_size // 2])
    assert _train(tiny_exp, "data_dir", str(data)) == 3
    line = error_line(capsys)
    assert "instances_train2017.json: not valid JSON" in line


@pytest.mark.parametrize("workers", ["0", "2"])
def test_image_cut_in_half(tiny_exp, data, capsys, workers):
    for path in (data / "train2017").iterdir():
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    assert _train(tiny_exp, "data_dir", str(data), "data_num_workers", workers) == 3
    line = error_line(capsys)
    assert "train2017" in line
    assert "the file is cut off after" in line


def test_unknown_class_id(tiny_exp, data, capsys):
    path = data / "annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][3]["category_id"] = 99
    path.write_text(json.dumps(content))
    assert _train(tiny_exp, "data_dir", str(data)) == 3
    line = error_line(capsys)
    assert "unknown_category: annotation" in line
    assert "category_id 99" in line


def test_class_count_that_does_not_fit(tiny_exp, capsys):
    assert _train(tiny_exp, "num_classes", "5") == 2
    assert "num_classes 5 does not fit the 3 categories" in error_line(capsys)


def test_checkpoint_of_another_architecture(tiny_exp, tmp_path, capsys):
    path = tmp_path / "shallow.pth"
    torch.save({"model": get_exp(exp_file=str(tiny_exp)).get_model().state_dict()}, path)
    assert _train(tiny_exp, "-c", str(path), "depth", "0.67") == 4
    line = error_line(capsys)
    assert "is of another architecture: missing" in line
    assert "first: backbone.backbone.dark2" in line


def test_pickle_that_would_run_code(tiny_exp, tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "evil.pth"
    torch.save({"model": Evil()}, path)
    assert run(eval_main, [*CPU, "-f", str(tiny_exp), "-c", str(path)]) == 4
    assert "refused" in error_line(capsys)
    assert not (tmp_path / "ran").exists()


def test_input_size_that_strides_do_not_divide(tiny_exp, capsys):
    assert _train(tiny_exp, "input_size", "(65, 64)") == 2
    assert "input_size (65, 64) is not a multiple of 32" in error_line(capsys)


def test_misspelt_option(tiny_exp, capsys):
    assert _train(tiny_exp, "max_epochs", "3") == 2
    assert "unknown option 'max_epochs'; did you mean 'max_epoch'?" in error_line(capsys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-d", "0"], "-d/--devices: 0 is less than 1"),
        (["--no-such-flag"], "--no-such-flag"),
        (["--num_machines", "2"], "--num_machines needs --dist-url"),
        (["--device", "cuda:77"], "cuda:77"),
        (["-l", "paper"], "--logger: invalid choice: 'paper'"),
        (["max_epoch", "1", "-b", "8", "data_dir"], "'data_dir' has no value"),
    ],
)
def test_wrong_flags(tiny_exp, capsys, words, said):
    assert run(train_main, [*CPU, "-f", str(tiny_exp), "-b", "4", *words]) == 2
    assert said in error_line(capsys)


def test_resume_without_a_checkpoint(tiny_exp, capsys):
    words = [*CPU, "-f", str(tiny_exp), "-b", "4", "-l", "none", "--resume"]
    assert run(train_main, words) == 4
    assert "latest_ckpt.pth does not exist" in error_line(capsys)


def test_a_bug_keeps_its_traceback_and_exits_1(capsys):
    def broken(argv):
        raise ZeroDivisionError("a bug")

    assert run(broken) == 1
    assert "ZeroDivisionError: a bug" in capsys.readouterr().err


def test_whole_compression_and_what_reads_it(tiny_exp, ckpt, tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "mask: {share: 0.6, criterion: layer}\nadapt: {least_squares: false}\n"
        "recover: {max_epoch: 1, warmup_epochs: 0}\n"
    )
    out = tmp_path / "sparse"
    words = ["--ckpt", str(ckpt), "--recipe", str(recipe), "--out", str(out), "-b", "4"]
    words += ["--backends", "torch", "--resamples", "20"]
    assert run(prune_main, [*words, *CPU]) == 0
    report = json.loads((out / "report.json").read_text())
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert list(stages) == ["dense", "masked", "adapted", "recovered", "merged"]
    assert stages["merged"]["nonzero_params"] < 0.7 * stages["dense"]["nonzero_params"]
    assert stages["merged"]["file_bytes"] < 0.75 * stages["dense"]["file_bytes"]
    assert stages["merged"]["AP"] == stages["recovered"]["AP"]
    assert stages["merged"]["latency_ms"]["torch"] > 0
    assert stages["merged"]["peak_mb"]["torch"] > 50
    assert "| merged" in capsys.readouterr().err

    merged = str(out / "merged.pth")
    found = tmp_path / "eval.json"
    assert run(eval_main, [*CPU, "-c", merged, "-b", "4", "--json", str(found)]) == 0
    result = json.loads(found.read_text())
    assert result["nonzero_params"] == stages["merged"]["nonzero_params"]

    pictures = tmp_path / "pictures"
    data_dir = get_exp(exp_file=str(tiny_exp)).data_dir
    words = ["image", "-c", merged, "--path", f"{data_dir}/val2017", "--out", str(pictures)]
    assert run(demo_main, [*words, "--limit", "2", *CPU]) == 0
    assert len(list(pictures.glob("*.jpg"))) == 2

    assert run(train_main, [*CPU, "-f", str(tiny_exp), "-b", "4", "-c", merged]) == 4
    assert "merged" in error_line(capsys)
    assert run(mask_main, ["--ckpt", merged, "--out", str(tmp_path)]) == 4


def test_mask_and_merge_alone(ckpt, tmp_path):
    out = str(tmp_path / "steps")
    words = ["--ckpt", str(ckpt), "--criterion", "lamp", "--out", out]
    for share in (["--nonzero", "0.7"], ["--share", "0.3"]):  # the second is the old spelling
        assert run(mask_main, [*words, *share]) == 0
        masks = checkpoint.read(f"{out}/mask.pth")["masks"]
        removed = sum(int((~m).sum()) for m in masks.values())
        total = sum(m.numel() for m in masks.values())
        assert removed / total == pytest.approx(0.3, abs=1e-4)
    words = ["--ckpt", f"{out}/mask.pth", "--encoding", "coo", "--values", "fp16", "--out", out]
    assert run(merge_main, words) == 0
    assert restore(f"{out}/merged.pth").fused


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--nonzero", "1.5"], 2, "--nonzero: '1.5' is not"),
        (["--nonzero", "0.5", "--share", "0.5"], 2, "not allowed with argument --nonzero"),
        (["--params", "1.5"], 2, "params 1.5 is not between 0 and 1"),
        (
            ["--params", "0.5", "--latency", "0.5"],
            2,
            "one budget where time counts, not params and",
        ),
        (["--backends", "torch,tosh"], 2, "'tosh' is none of"),
        (["--calibration", "/nowhere"], 3, "images /nowhere"),
        (["--recipe", "/nowhere.yaml"], 2, "recipe '/nowhere.yaml': no such file"),
        (["data_dir", "/nowhere"], 3, "/nowhere does not exist"),
    ],
)
def test_wrong_compression(ckpt, tmp_path, capsys, words, code, said):
    out = tmp_path / "sparse"
    assert run(prune_main, ["--ckpt", str(ckpt), "--out", str(out), *CPU, *words]) == code
    assert said in error_line(capsys)
    assert not out.exists()


def test_checkpoint_that_names_no_experiment(tiny_exp, tmp_path, capsys):
    path = tmp_path / "plain.pth"
    torch.save({"model": get_exp(exp_file=str(tiny_exp)).get_model().state_dict()}, path)
    assert run(prune_main, ["--ckpt", str(path)]) == 4
    assert "name it with -f or -n" in error_line(capsys)


def _config(tmp_path, ckpt, data_dir, **changes):
    path = tmp_path / "deploy.json"
    content = {
        "checkpoint": str(ckpt),
        "images": f"{data_dir}/val2017",
        "size": [64, 64],
        "workers": 0,
        "answer": str(tmp_path / "answer.json"),
        "device": "cpu",
        **changes,
    }
    path.write_text(json.dumps(content))
    return ["--config", str(path)]


def test_deployment_without_annotations(ckpt, synthetic_dir, tmp_path, capsys):
    words = _config(tmp_path, ckpt, synthetic_dir, conf=0.0001, soft_nms=True, max_candidates=50)
    assert run(deploy_main, [*words, "batch_size", "2"]) == 0
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert list(answer[0]) == ["framework"]
    assert list(answer[1]) == ["parameters"]
    assert {entry["category_id"] for entry in answer[2:]} <= {1, 2, 4}
    assert "postprocess" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"confidence": 0.1}, 2, "unknown key 'confidence'"),
        ({"conf": "high"}, 2, "'high' is not a number"),
        ({"nms": 7.0}, 2, "nms 7.0"),
        ({"size": [65, 64]}, 2, "not a multiple of 32"),
        ({"precision": "int3"}, 2, "precision 'int3'"),
        ({"images": "/nowhere"}, 3, "/nowhere"),
        ({"checkpoint": "/nowhere.pth"}, 4, "/nowhere.pth does not exist"),
    ],
)
def test_wrong_deployment(ckpt, synthetic_dir, tmp_path, capsys, changes, code, said):
    assert run(deploy_main, _config(tmp_path, ckpt, synthetic_dir, **changes)) == code
    assert said in error_line(capsys)


def test_commands_are_found_by_name(capsys):
    assert run(dispatch, ["--help"]) == 0
    assert "compress" in capsys.readouterr().out
    assert run(dispatch, ["evaluate"]) == 2
    assert "did you mean 'eval'" in error_line(capsys)


SCRIPTS = [
    "tools/train.py",
    "tools/eval.py",
    "tools/demo.py",
    "tools/doctor.py",
    "main.py",
    "compress/prune.py",
    "compress/mask.py",
    "compress/merge.py",
]

# As `python SCRIPT --help` does it, but for what is imported once for all: none of it is ours.
STARTER = """
import os, runpy, sys
import loguru
scripts = sys.argv[2:]
for script in scripts:
    if os.fork() == 0:
        for number, end in ((1, "out"), (2, "err")):
            path = os.path.join(sys.argv[1], os.path.basename(script) + "." + end)
            os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY), number)
        sys.argv, sys.path[0] = [script, "--help"], os.path.dirname(script)
        runpy.run_path(script, run_name="__main__")
        os._exit(70)  # a script says how it ended
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


def test_scripts_start(tmp_path):
    (tmp_path / "starter.py").write_text(STARTER)
    command = [sys.executable, str(tmp_path / "starter.py"), str(tmp_path)]
    done = subprocess.run(
        [*command, *(str(ROOT / script) for script in SCRIPTS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for script, code in zip(SCRIPTS, done.stdout.split(), strict=True):
        out, err = ((tmp_path / f"{Path(script).name}.{end}").read_text() for end in ("out", "err"))
        assert code == "0", f"{script}: {err}"
        assert "usage" in out, script
