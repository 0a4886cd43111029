"""Command lines with wrong flags, values, files and options, for every command.

What would train, measure or evaluate is replaced: reading and checking is what is tried here.
"""

import io
import json
import os
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from hypothesis import strategies as st

from tests.fuzz import configs, recipes
from tests.fuzz.settings import LONGEST
from yolox.cli.common import run
from yolox.engine import checkpoint
from yolox.exp import Exp
from yolox.families import spec_to_dict
from yolox.models.complexity import Complexity

HUGE = "9" * 100_000
TEXTS = [
    "",
    "0",
    "1",
    "-1",
    "2",
    "64",
    "0.5",
    "-0.5",
    "1.5",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1e-400",
    "999999999999",
    "-999999999999",
    str(2**63),
    str(2**64),
    "9" * 5000,
    HUGE,
    "1_0",
    "0x10",
    "٣",
    "None",
    "True",
    "maybe",
    "(64, 64)",
    "(64,)",
    "[[",
    "[" * 500,
    "{[]: 1}",
    "'\\d'",
    "a" * 300,
    "é",
    "\udc80",
    "a\0b",
    "%s",
    "a\nb",
    "--",
    "-",
    "-x",
    "--help",
    "=",
    "silu",
    "yolox-s",
    "yolox_s",
    "yolo",
    "cpu",
    "cuda",
    "cuda:7",
    "cuda:-1",
    "meta",
    "cpu:3",
    "mps",
    "torch",
    "onnxruntime",
    "openvino",
    "fp16",
    "tcp://x:99999",
    "tcp://127.0.0.1:²",
    "tcp://:1",
    "none",
    "good.pth",
    "config.json",
    "recipe.yaml",
    "report.json",
    "exp.py",
    "broken.py",
    "images",
    "empty",
    "nowhere/x.json",
    "good.pth/x",
    "out.json",
    "bad.onnx",
    "bad.xml",
    ".",
    "..",
]
OPTIONS = [
    "max_epoch",
    "fake_int8",
    "distill_layers",
    "max_epochs",
    "basic_lr_per_img",
    "degrees",
    "data_num_workers",
    "seed",
    "width",
    "depth",
    "num_classes",
    "input_size",
    "test_size",
    "multiscale_range",
    "random_size",
    "output_dir",
    "exp_name",
    "data_dir",
    "teacher",
    "milestones",
    "val_ann",
    "train_name",
    "ema",
    "print_interval",
    "test_conf",
    "strides",
    "channels",
    "label_weight",
    "accumulate",
    "act",
]
RUNTIME = ["--backend", "--threads", "--provider", "--fp16", "--bf16"]
JOB = ["-d", "--device", "--num_machines", "--machine_rank", "--dist-url", "--dist-backend"]
EXP = ["-f", "-n", "-expn"]
COMPRESS = ["--ckpt", "--out", "--calibration", "--device", *EXP]
# By command: its module, a command line that holds, its flags, and whether it has options.
COMMANDS: dict[str, tuple[str, list[str], list[str], bool]] = {
    "train": (
        "yolox.cli.train",
        ["-f", "exp.py"],
        ["-b", "-c", "-e", "--resume", "--cache", "-o", "-l", "--save-every", *JOB, *EXP],
        True,
    ),
    "eval": (
        "yolox.cli.eval",
        ["-c", "good.pth"],
        [
            "-c",
            "-b",
            "--conf",
            "--nms",
            "--tsize",
            "--no-fuse",
            "--legacy",
            "--test",
            "--speed",
            "--seed",
            "--json",
            "--results",
            *RUNTIME,
            *JOB,
            *EXP,
        ],
        True,
    ),
    "demo": (
        "yolox.cli.demo",
        ["image", "-c", "good.pth", "--path", "images"],
        [
            "-c",
            "--path",
            "--camid",
            "--out",
            "--limit",
            "--save_result",
            "--device",
            "--conf",
            "--nms",
            "--tsize",
            *RUNTIME,
            *EXP,
        ],
        True,
    ),
    "export": (
        "yolox.cli.export",
        ["-c", "good.pth"],
        [
            "-c",
            "--output-name",
            "--input",
            "--output",
            "-o",
            "--batch-size",
            "--dynamic",
            "--dynamic-size",
            "--tsize",
            "--fp16",
            "--nms",
            "--conf",
            "--iou",
            "--max-detections",
            "--int8",
            "--calibration",
            "--calibration-images",
            "--max-drop",
            "--images",
            "--json",
            *EXP,
        ],
        True,
    ),
    "benchmark": (
        "yolox.cli.benchmark",
        ["good.pth", "--threads", "1"],
        [
            "-f",
            "-n",
            "--set",
            "--backend",
            "--precision",
            "-b",
            "--size",
            "--threads",
            "--rounds",
            "--at-once",
            "--device",
            "--calibration",
            "--ap",
            "--json",
            "--picture",
            "--work",
        ],
        False,
    ),
    "doctor": (
        "yolox.cli.doctor",
        ["--data", "data", "--json", "instances_val2017.json", "--name", "val2017"],
        ["--data", "--json", "--name", "--report", "--page", "--seed"],
        False,
    ),
    "run": ("yolox.cli.deploy", ["--config", "config.json"], ["--config", "-f"], True),
    "prune": (
        "yolox.cli.compress",
        ["--ckpt", "good.pth"],
        [
            "--recipe",
            "--nonzero",
            "--share",
            "--params",
            "--macs",
            "--latency",
            "--latency-ms",
            "--until",
            "--from",
            "--control",
            "--no-recover",
            "--no-eval",
            "-b",
            "--fp16",
            "--backends",
            "--resamples",
            *COMPRESS,
        ],
        True,
    ),
    "mask": (
        "yolox.cli.mask",
        ["--ckpt", "good.pth"],
        ["--nonzero", "--share", "--criterion", "--pattern", "--exclude", *COMPRESS],
        True,
    ),
    "adapt": (
        "yolox.cli.adapt",
        ["--ckpt", "good.pth", "--recalibrate"],
        ["--dense", "--images", "--ridge", "--no-fold", "--no-least-squares", *COMPRESS],
        True,
    ),
    "merge": (
        "yolox.cli.merge",
        ["--ckpt", "good.pth"],
        ["--ckpt", "--encoding", "--values", "--out", "-n", "-f"],
        False,
    ),
    "sensitivity": (
        "yolox.cli.sensitivity",
        ["--ckpt", "good.pth"],
        ["--metric", "--ratios", "--images", "--exclude", *COMPRESS],
        True,
    ),
    "report": ("yolox.cli.report", ["report.json"], [], False),
    "verify": (
        "yolox.cli.verify",
        ["good.pth"],
        ["--ap", "--source", "--json", "--device", *EXP],
        True,
    ),
}
STUBS: dict[str, Any] = {
    "yolox.cli.jobs.train.train": None,
    "yolox.cli.jobs.eval.evaluate": None,
    "yolox.cli.jobs.eval.latency_ms": {"model": 1.0},
    "yolox.cli.jobs.eval.complexity": Complexity(1, 1, 1.0),
    "yolox.cli.jobs.demo._images": 0,
    "yolox.cli.jobs.demo._frames": 0,
    "yolox.cli.jobs.export.export": {},
    "yolox.cli.jobs.benchmark.prepare": [],
    "yolox.cli.jobs.deploy.deploy": None,
    "yolox.engine.launch.elastic_launch": lambda *words: 0,
    "yolox.cli.jobs.compress.compress": [],
    "yolox.cli.jobs.mask.compress": [],
    "yolox.compress.job.ImageSet": SimpleNamespace(open=lambda device: None),
    "yolox.cli.jobs.adapt.find_groups": SimpleNamespace(trace=None),
    "yolox.cli.jobs.adapt.adapt": {},
    "yolox.cli.jobs.sensitivity.find_groups": SimpleNamespace(trace=SimpleNamespace(layers={})),
    "yolox.cli.jobs.sensitivity.measured_curves": {},
    "yolox.cli.jobs.sensitivity.write_heatmap": None,
    "yolox.cli.jobs.sensitivity.write_csv": None,
    "yolox.cli.jobs.doctor.write_json": None,
    "yolox.cli.jobs.export.write_json": None,
    "torch.set_num_threads": None,
    "torch.manual_seed": None,
}


def replace_work(patch: pytest.MonkeyPatch) -> None:
    """Let everything that takes long give a fixed result at once."""
    for name, result in STUBS.items():
        patch.setattr(name, lambda *words, _result=result, **named: _result)
    patch.setattr("yolox.export.open._through_onnx", _not_exported)
    patch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))


def _not_exported(*words: Any) -> None:
    raise AssertionError("a model was exported before the arguments were checked")


def write_files(folder: Path, data: Path) -> None:
    """What command lines speak of: sound files, broken ones, and things that are no files."""
    exp = Exp()
    exp.num_classes, exp.depth, exp.width = 3, 0.33, 0.0625
    exp.input_size = exp.test_size = (64, 64)
    exp.data_dir, exp.data_num_workers = str(data), 0
    torch.manual_seed(0)
    content = {
        "model": exp.get_model().state_dict(),
        "spec": spec_to_dict(exp.detector_spec()),
        "exp": exp.origin(),
    }
    checkpoint.save(folder / "good.pth", content)
    (folder / "data").symlink_to(data)
    (folder / "images").symlink_to(data / "val2017")
    (folder / "empty").mkdir()
    good = {**configs.GOOD, "checkpoint": "good.pth"}
    (folder / "config.json").write_text(json.dumps(good))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipes.GOOD))
    row = dict.fromkeys(("params", "nonzero_params", "macs", "file_bytes"), 1)
    (folder / "report.json").write_text(
        json.dumps({"stages": [{"name": "dense", "AP": 0.5, "AP50": 0.5, **row}]})
    )
    options = "\n".join(f"        self.{key} = {value!r}" for key, value in exp.options().items())
    (folder / "exp.py").write_text(
        "from yolox.exp import Exp as Base\n\n\nclass Exp(Base):\n    def __init__(self):\n"
        f"        super().__init__()\n{options}\n"
    )
    (folder / "broken.py").write_text("1 / 0\n")
    for name in ("bad.onnx", "bad.xml", "bad.bin"):
        (folder / name).write_bytes(b"\x08\x07rubbish")


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A command and its arguments: a command line that holds, with something put in or changed."""
    name = draw(st.sampled_from(list(COMMANDS)))
    _, good, flags, has_options = COMMANDS[name]
    words = list(good)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        change = draw(st.sampled_from(["flag", "flag", "flag", "option", "word", "remove", "own"]))
        text = draw(st.sampled_from(TEXTS))
        if change == "flag" and flags:
            words += [draw(st.sampled_from(flags)), text]
        elif change == "option" and has_options:
            words += [draw(st.sampled_from(OPTIONS)), text]
        elif change == "remove" and words:
            words.pop(draw(st.integers(0, len(words) - 1)))
        elif change == "own" and words:
            words[draw(st.integers(0, len(words) - 1))] = text
        else:
            words.insert(draw(st.integers(0, len(words))), text)
    return name, words


def check(name: str, words: list[str]) -> int:
    """The exit code. A traceback, or a failure without one line that says why, is a fault."""
    main: Callable[[list[str] | None], int] = import_module(COMMANDS[name][0]).main
    shown, said = io.StringIO(), io.StringIO()
    with redirect_stdout(shown), redirect_stderr(said):
        try:
            code = run(main, words)
        except SystemExit as end:  # --help
            code = int(end.code or 0)
    text = said.getvalue()
    assert "Traceback" not in text, f"{name} {words!r:.400}: {text[-1500:]}"
    errors = [line for line in text.splitlines() if "| ERROR" in line]
    assert code in range(6), f"{name} {words!r:.400}: exit code {code}"
    assert len(errors) == (1 if code else 0), f"{name} {words!r:.400}: {text[-1500:]}"
    assert all(len(line) < LONGEST for line in errors), f"{name} {words!r:.400}: too long"
    return code
