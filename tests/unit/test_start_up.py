"""What a command imports before it has anything to do, and the names that flags list."""

import subprocess
import sys

import pytest

from yolox import defaults
from yolox.cli.__main__ import COMMANDS
from yolox.compress import merge, run
from yolox.compress.importance import channels, weights
from yolox.data.formats import table

SLOW = ("torch", "torchvision", "cv2", "matplotlib", "onnx", "onnxruntime", "openvino")
SCRIPT = """
import sys
from contextlib import suppress
from yolox.cli.__main__ import dispatch
for command in sys.argv[1:]:
    with suppress(SystemExit):
        dispatch([command, "--help"] if command else ["--help"])
print(sorted(set(sys.modules)), file=sys.stderr)
"""


def imported(script: str, *words: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", script, *words], check=True, capture_output=True, text=True
    )
    return done.stderr.strip().splitlines()[-1].strip("[]").replace("'", "").split(", ")


def test_help_of_every_command_needs_no_slow_package():
    found = imported(SCRIPT, "", *COMMANDS)
    assert {"yolox.cli.train", "yolox.cli.compress"} <= set(found)
    assert not {name.partition(".")[0] for name in found} & set(SLOW)


def test_a_usage_error_is_reported_before_torch_is_imported():
    script = "import sys; from yolox.cli.__main__ import main\ntry:\n    code = main()\n"
    script += "finally:\n    print(sorted(sys.modules), file=sys.stderr)\nassert code == 2"
    assert "torch" not in imported(script, "train", "--batch-size", "none")


def test_training_needs_none_of_the_packages_that_other_work_needs():
    found = imported(
        "import sys, yolox.cli.jobs.train; print(sorted(sys.modules), file=sys.stderr)"
    )
    assert "torch" in found
    assert not {"torchvision", "matplotlib", "onnx", "onnxruntime", "openvino"} & set(found)


def test_a_model_is_fused_detects_and_learns_without_the_compiler_of_pytorch():
    """Whose import takes two seconds; torchvision imports it, too."""
    script = (
        "import sys, torch, yolox\n"
        "from yolox.config import EvalSpec\nfrom yolox.families.yolox import YoloxSpec\n"
        "from yolox.models.fuse import fuse\nfrom yolox.ops.nms import postprocess\n"
        "from yolox.config import TrainSpec\nfrom yolox.engine.optim import make_optimizer\n"
        "for name in ('sgd', 'adam', 'adamw'):\n"
        "    layer = torch.nn.Linear(3, 1)\n"
        "    optimizer = make_optimizer(layer, TrainSpec(optimizer=name))\n"
        "    layer(torch.ones(2, 3)).sum().backward()\n"
        "    optimizer.step()\n"
        "    optimizer.zero_grad()\n"
        "    optimizer.load_state_dict(optimizer.state_dict())\n"
        "model = fuse(YoloxSpec(3, width=0.125).build())\n"
        "with torch.no_grad():\n"
        "    (found,) = postprocess(model(torch.zeros(1, 3, 64, 64)), EvalSpec(conf=0.0))\n"
        "assert len(found)\nprint(sorted(sys.modules), file=sys.stderr)"
    )
    assert not {"torch._dynamo", "torchvision", "sympy"} & set(imported(script))


@pytest.mark.parametrize(
    ("named", "there"),
    [
        (defaults.STAGE_NAMES[:-1], [stage.name for stage in run.STAGES]),
        (defaults.MASK_CRITERIA, weights.CRITERIA),
        (defaults.PRUNE_CRITERIA, channels.CHANNEL_CRITERIA),
        (defaults.VALUE_TYPES, merge.TYPES),
        (defaults.FORMATS, table.FORMATS),
        (defaults.WRITABLE, [name for name, one in table.FORMATS.items() if one.write]),
    ],
)
def test_flags_list_what_there_is(named, there):
    assert list(named) == list(there)
