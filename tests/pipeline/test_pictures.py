"""Recovery from pictures without labels: the dense model's answers are what is learnt."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.runs import error_line
from yolox.cli.common import run
from yolox.cli.compress import main as prune_main
from yolox.data.dataset import DetectionDataset
from yolox.engine import checkpoint

RECIPE = (
    "prune: {params: 0.6, images: 4}\nadapt: {images: 4}\n"
    "recover: {images: PICTURES, labelled: LABELLED, conf: 0.0, teacher: dense, max_epoch: 1,"
    " warmup_epochs: 0}\n"
)


@pytest.fixture
def pictures(tmp_path, synthetic_dir):
    """A folder of pictures."""
    folder = tmp_path / "pictures"
    shutil.copytree(synthetic_dir / "train2017", folder)
    return folder


@pytest.fixture
def command(tmp_path, ckpt, pictures):
    """Compresses with such a recovery."""

    def call(*words, labelled=False, data="nowhere", evaluated=False):
        recipe = tmp_path / "recipe.yaml"
        text = RECIPE.replace("PICTURES", str(pictures))
        recipe.write_text(text.replace("LABELLED", str(labelled).lower()))
        given = ["--ckpt", str(ckpt), "--recipe", str(recipe), "--out", str(tmp_path / "out")]
        quick = ["--backends", "none", "--device", "cpu", "-b", "4"]
        quick += [] if evaluated else ["--no-eval"]
        return run(prune_main, [*given, *quick, *words, "data_dir", str(data)])

    call.out = tmp_path / "out"
    return call


def labels(command):
    return json.loads((command.out / "labels.json").read_text())


def test_a_folder_of_pictures_is_all_that_a_compression_needs(command, pictures):
    assert command() == 0
    content = labels(command)
    files = {str(path.resolve()) for path in pictures.iterdir()}
    assert {image["file_name"] for image in content["images"]} == files
    assert content["annotations"]
    manifest = json.loads((command.out / "recover" / "manifest.json").read_text())
    assert list(manifest["annotations"]) == [str((command.out / "labels.json").resolve())]
    assert manifest["choice"]["apart"]
    report = json.loads((command.out / "report.json").read_text())
    assert [row["name"] for row in report["stages"]][-2:] == ["recovered", "merged"]


def test_validation_images_choose_nothing(command, synthetic_dir):
    assert command("--until", "adapt", labelled=True, data=synthetic_dir, evaluated=True) == 0
    chosen = checkpoint.read(command.out / "adapted.pth")["chosen"]
    assert chosen["measure"] == "similarity to the dense model's outputs"


def test_labelled_images_are_learnt_from_beside_them(command, pictures, synthetic_dir):
    assert command("--until", "label", labelled=True, data=synthetic_dir) == 0
    count = len(list(pictures.iterdir()))
    whole = DetectionDataset(command.out, "labels.json", "", allow_outside=True)
    own = DetectionDataset(synthetic_dir, "instances_train2017.json", "train2017")
    assert len(whole) == count + len(own)
    assert whole.class_names == own.class_names
    for index in range(len(own)):
        for found, wanted in zip(whole.targets(count + index), own.targets(index), strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert whole.crowd_boxes == own.crowd_boxes


def test_other_pictures_are_labelled_anew(command, pictures, capsys):
    assert command("--until", "label") == 0
    assert command("--until", "label") == 0
    assert "label: done before" in capsys.readouterr().err
    first = sorted(pictures.iterdir())[0]
    first.unlink()
    assert command("--until", "label") == 0
    assert "label: other pictures" in capsys.readouterr().err
    assert str(first.resolve()) not in {i["file_name"] for i in labels(command)["images"]}


def test_a_folder_that_is_not_there_is_named_before_the_work(command, pictures, capsys):
    shutil.rmtree(pictures)
    assert command() == 3
    assert str(pictures) in error_line(capsys)
    assert not Path(command.out / "plan.json").exists()
