"""Every family goes through the whole chain: two toys, which nothing outside their own files knows,
and small members of those that the toolkit has beside YOLOX.
"""

import json
import math
from pathlib import Path

import pytest

from tests.pipeline.runs import error_line, run_training
from yolox.cli.common import run
from yolox.cli.compress import main as prune_main
from yolox.cli.deploy import main as deploy_main
from yolox.cli.eval import main as eval_main
from yolox.cli.export import main as export_main
from yolox.cli.train import main as train_main
from yolox.engine import checkpoint
from yolox.errors import YoloxError

HERE = Path(__file__).resolve().parent.parent / "families"
SLOW = ("anchors", "centernet", "efficientdet")
FAMILIES = ["heatmap", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
TERMS = {"heatmap": ", size ", "centernet": ", offset "}  # of the loss; else ", focal "
SIDES = {"efficientdet": 128}  # pixels of an image; else 64
RECIPE = """
mask: {share: 0.3, criterion: output}
prune: {params: 0.7, criterion: output, images: 8}
adapt: {images: 8, recalibrate: true}
recover: {teacher: dense, max_epoch: 1, no_aug_epochs: 1, distill_features: 1.0}
merge: {}
"""


@pytest.fixture(params=FAMILIES)
def family(request, tmp_path, synthetic_dir):
    """The words that name an experiment of a family, small enough for a test."""
    size = (SIDES.get(request.param, 64),) * 2
    options = {
        "num_classes": 3,
        "data_dir": str(synthetic_dir),
        "train_ann": "instances_train2017.json",
        "val_ann": "instances_val2017.json",
        "output_dir": str(tmp_path / "out"),
        "input_size": size,
        "test_size": size,
        "random_size": (1, 2),
        "data_num_workers": 0,
        "warmup_epochs": 0,
        "eval_interval": 1,
        "eval_report": False,
        "test_conf": 0.0001,
    }
    text = (HERE / f"{request.param}.py").read_text()
    lines = "\n".join(f"        self.{key} = {value!r}" for key, value in options.items())
    path = tmp_path / f"{request.param}.py"
    path.write_text(f"{text}\n\n    def __init__(self):\n        super().__init__()\n{lines}\n")
    return path


def test_the_whole_chain(family, tmp_path, synthetic_dir):
    exp, out = str(family), tmp_path / "out" / family.stem
    words = ["-f", exp, "-d", "1", "-b", "4"]
    assert run(train_main, [*words, "max_epoch", "2", "no_aug_epochs", "1"]) == 0
    assert run(train_main, [*words, "--resume", "max_epoch", "3", "no_aug_epochs", "1"]) == 0
    best = str(out / "best_ckpt.pth")
    log = (out / "train_log.txt").read_text()
    assert TERMS.get(family.stem, ", focal ") in log

    folder = tmp_path / "sparse"
    (tmp_path / "r.yaml").write_text(RECIPE)
    recipe = ["--recipe", str(tmp_path / "r.yaml"), "--out", str(folder), "-b", "4"]
    recipe += ["--backends", "torch", "--resamples", "0"]
    assert run(prune_main, ["--ckpt", best, "-f", exp, *recipe]) == 0
    stages = {s["name"]: s for s in json.loads((folder / "report.json").read_text())["stages"]}
    assert {"dense", "pruned", "recovered", "merged"} <= set(stages)
    assert stages["pruned"]["params"] < 0.75 * stages["dense"]["params"]
    assert stages["merged"]["nonzero_params"] < 0.75 * stages["pruned"]["params"]

    merged = str(folder / "merged.pth")
    aps = {}
    onnx, xml = str(tmp_path / "m.onnx"), str(tmp_path / "m.xml")
    pictures = ["--images", str(synthetic_dir / "val2017")]
    assert run(export_main, ["-f", exp, "-c", merged, "--output-name", onnx, *pictures]) == 0
    calibration = ["--int8", "--calibration", str(synthetic_dir)]
    assert run(export_main, ["-f", exp, "-c", merged, "--output-name", xml, *pictures]) == 0
    int8 = str(tmp_path / "int8.onnx")
    done = run(export_main, ["-f", exp, "-c", best, "--output-name", int8, *pictures, *calibration])
    assert done == 0
    for path in (merged, onnx, xml):
        json_file = tmp_path / "eval.json"
        assert run(eval_main, ["-f", exp, "-c", path, "--json", str(json_file)]) == 0
        aps[path] = json.loads(json_file.read_text())["AP"]
        answer = tmp_path / "answer.json"
        config = {
            "checkpoint": path,
            "images": str(synthetic_dir / "val2017"),
            "answer": str(answer),
            "annotations": str(synthetic_dir / "annotations" / "instances_val2017.json"),
            "size": [SIDES.get(family.stem, 64)] * 2,
            "rectangular": False,
            "workers": 0,
            "conf": 0.0001,
        }
        (tmp_path / "run.json").write_text(json.dumps(config))
        assert run(deploy_main, ["--config", str(tmp_path / "run.json"), "-f", exp]) == 0
        assert len(json.loads(answer.read_text())) > 10
    assert aps[onnx] == pytest.approx(aps[merged], abs=0.01)
    assert aps[xml] == pytest.approx(aps[merged], abs=0.01)


@pytest.mark.parametrize("family", ["heatmap"], indirect=True)
def test_a_family_of_ones_own_is_named_by_its_experiment(family, tmp_path, capsys):
    from yolox.exp import get_exp
    from yolox.families import build, spec_to_dict

    spec = get_exp(exp_file=str(family)).detector_spec()
    path = tmp_path / "m.pth"
    origin = {"file": str(family), "name": None, "options": {}}
    content = {"model": build(spec).state_dict(), "spec": spec_to_dict(spec), "exp": origin}
    checkpoint.save(path, content)
    assert run(eval_main, ["-c", str(path)]) == 4
    assert f"is of the family '{spec.family}': name its experiment with -f" in error_line(capsys)


@pytest.mark.parametrize(
    "family", [pytest.param("centernet", marks=pytest.mark.slow), "efficientdet"], indirect=True
)
def test_built_in_families_resume_exactly(family):
    """Also where branches are left out at random."""
    asked = {"max_epoch": 1, "no_aug_epochs": 0, "eval_interval": 2}
    whole, _ = run_training(family, name="whole", **asked)
    with pytest.raises(YoloxError, match="interrupted after step 2"):
        run_training(family, name="cut", stop_after=2, **asked)
    rest, _ = run_training(family, name="cut", resume=True, **asked)
    assert rest == whole[2:]
    assert all(map(math.isfinite, whole))
