"""Which images choose the best epoch, and what is said about it."""

import json
import math
import shutil

import pytest

import yolox.engine.train as trainer
import yolox.engine.validation as validation
from tests.pipeline.runs import run_training
from yolox.engine import checkpoint
from yolox.errors import YoloxError


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Counting operations takes longer than these trainings."""
    monkeypatch.setattr("yolox.engine.progress.complexity", lambda model, size: None)
    monkeypatch.setattr("yolox.engine.progress.describe", lambda size, size_hw: "")


def _manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_a_share_set_aside_chooses_and_the_validation_images_report(tiny_exp, monkeypatch, capsys):
    runs, make = [], trainer.prepare

    def prepare(*args):
        runs.append(make(*args))
        return runs[-1]

    monkeypatch.setattr(trainer, "prepare", prepare)
    evaluated, evaluate = [], validation.evaluate

    def observed(backend, dataset, *rest):
        evaluated.append(len(dataset))
        return evaluate(backend, dataset, *rest)

    monkeypatch.setattr(validation, "evaluate", observed)
    asked = {"select_share": 0.25, "max_epoch": 3, "seed": 4}
    whole, result = run_training(tiny_exp, name="whole", **asked)
    trained, chosen_on = runs[0].dataset, runs[0].select_dataset
    assert (len(trained), len(chosen_on), len(runs[0].eval_dataset)) == (9, 3, 6)
    assert not {r.id for r in trained.images} & {r.id for r in chosen_on.images}
    assert evaluated == [3, 3, 3, 6]
    said = capsys.readouterr().err
    assert "on 3 images set aside to choose the epoch" in said
    assert "instances_val2017.json, which did not choose it" in said
    assert "on the same images" not in said
    assert result.report_ap is not None
    choice = _manifest(result.folder)["choice"]
    assert choice["apart"] is True
    assert (choice["images"], choice["report_ap"]) == (3, result.report_ap)

    with pytest.raises(YoloxError, match="interrupted"):
        run_training(tiny_exp, name="cut", stop_after=4, **asked)
    rest, _ = run_training(tiny_exp, name="cut", resume=True, **asked)
    assert rest == whole[4:]


def test_an_annotation_file_may_choose_and_shared_images_are_said(tiny_exp, capsys):
    _, result = run_training(tiny_exp, max_epoch=1, select_ann="instances_train2017.json")
    assert "12 of the 12 images that choose the best epoch are trained on too" in (
        capsys.readouterr().err
    )
    assert _manifest(result.folder)["choice"]["chosen_on"].endswith("instances_train2017.json")


def test_without_a_choice_set_every_number_says_so(tiny_exp, capsys):
    _, result = run_training(tiny_exp, max_epoch=2)
    said = capsys.readouterr().err
    assert said.count("(chosen on the same images: somewhat too high)") == 3  # two epochs, the end
    assert result.report_ap is None
    assert _manifest(result.folder)["choice"]["apart"] is False


def test_without_boxes_the_last_evaluated_epoch_is_the_best(
    tiny_exp, synthetic_dir, tmp_path, capsys
):
    shutil.copytree(synthetic_dir, tmp_path / "data")
    path = tmp_path / "data" / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "annotations": []}))
    asked = {"data_dir": str(tmp_path / "data"), "patience": 1, "max_epoch": 3}
    _, result = run_training(tiny_exp, **asked)
    assert capsys.readouterr().err.count("has no boxes to evaluate on: best_ckpt.pth follows") == 1
    assert math.isnan(result.best_ap)
    assert math.isnan(result.last_ap)
    assert checkpoint.read(result.folder / "best_ckpt.pth")["state"]["step"] == 9


def test_the_plain_phase_says_where_it_begins(tiny_exp, capsys):
    run_training(tiny_exp, max_epoch=3, no_aug_epochs=2)
    said = capsys.readouterr().err
    line = "epoch 2 of 3: mosaic and mixup are off and the loss is in its last form"
    assert said.count(line) == 1
    assert "(official YOLOX begins one epoch earlier for the same option)" in said


def test_pictures_are_made_at_the_end_and_their_failure_ends_nothing(tiny_exp, monkeypatch, capsys):
    asked = {"max_epoch": 1, "eval_report": True}
    _, result = run_training(tiny_exp, name="pictured", **asked)
    assert (result.folder / "evaluation" / "evaluation.html").is_file()
    assert result.report_ap is None  # the same images chose
    monkeypatch.setattr("yolox.eval.report.page.write_evaluation", lambda *args: 1 / 0)
    _, result = run_training(tiny_exp, name="without", **asked)
    assert result.best_ap >= 0
    assert "no pictures of the evaluation: ZeroDivisionError" in capsys.readouterr().err
