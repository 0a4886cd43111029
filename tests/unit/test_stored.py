"""Experiments of checkpoints: no code of theirs runs, and what they store is checked."""

import sys

import pytest

from yolox.engine import checkpoint
from yolox.engine.log import set_up_log
from yolox.errors import ModelError
from yolox.exp import Exp, exp_of_checkpoint, get_exp
from yolox.exp.build import EXPS_DIR
from yolox.families import build, spec_to_dict
from yolox.families.yolox import YoloxSpec

SPEC = YoloxSpec(num_classes=3, depth=0.33, width=0.125)


def stored(folder, exp, name="downloaded.pth"):
    path = folder / name
    checkpoint.save(
        path, {"model": build(SPEC).state_dict(), "spec": spec_to_dict(SPEC), "exp": exp}
    )
    return path


@pytest.mark.parametrize("absolute", [True, False])
def test_a_file_that_a_checkpoint_names_is_not_run(tmp_path, monkeypatch, capsys, absolute):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "theirs.py"
    file.write_text("import sys\nsys.was_run = True\nfrom yolox.exp import Exp\n")
    path = stored(
        tmp_path,
        {
            "file": str(file) if absolute else "theirs.py",
            "name": None,
            "options": {
                "num_classes": 3,
                "test_size": [64, 64],
                "exp_name": "../../theirs",
                "output_dir": "/etc",
                "teacher": "theirs.pth",
                "label_weight": 0.0,
                "their_own": 3,
                "allow_outside": True,
            },
        },
    )
    set_up_log()
    exp = exp_of_checkpoint(path)
    assert not hasattr(sys, "was_run")
    assert (exp.num_classes, exp.test_size) == (3, (64, 64))
    assert (exp.exp_name, exp.output_dir) == ("downloaded", Exp.output_dir)
    assert (exp.teacher, exp.label_weight, exp.allow_outside) == (None, 1.0, False)
    words = capsys.readouterr().err
    assert "num_classes 3, test_size (64, 64)" in words
    assert "theirs.py is not run" in words
    assert "options that are not known here are ignored: 'their_own'" in words


def test_shipped_experiments_are_found_by_name_on_any_machine(tmp_path):
    origin = get_exp(exp_file=str(EXPS_DIR / "p6" / "yolox_m_p6.py")).origin()
    assert origin["name"] == "yolox-m-p6"
    exp = exp_of_checkpoint(stored(tmp_path, {**origin, "file": "/elsewhere/yolox_m_p6.py"}))
    assert exp.detector_spec() == get_exp(exp_name="yolox-m-p6").detector_spec()
    assert exp.exp_name == "yolox_m_p6"
    assert exp.origin()["name"] == "yolox-m-p6"
    older = {"file": str(EXPS_DIR / "p6" / "yolox_m_p6.py"), "name": None, "options": {}}
    assert exp_of_checkpoint(stored(tmp_path, older)).exp_name == "yolox_m_p6"
    newer = {"file": None, "name": "yolox-m-p9", "options": {"num_classes": 3}}
    assert exp_of_checkpoint(stored(tmp_path, newer)).num_classes == 3


@pytest.mark.parametrize(
    ("exp", "words"),
    [
        ({"options": {"depth": "deep"}}, r"downloaded\.pth: exp: depth 'deep' is not a number"),
        ({"options": {"degrees": float("inf")}}, "options is not a dictionary of plain values"),
        ({"options": {"act": "sily"}}, "did you mean 'silu'"),
        ({"options": {"data_num_workers": 100_000}}, "data_num_workers 100,000 is more than 64"),
        ({"options": {"width": 60.0}}, "parameters"),
        ({"options": [1]}, "options is not a dictionary"),
        ({"file": 3}, "file is not a path"),
        ({"name": "a\0b"}, "name is not a name"),
        ([], "exp is not a dictionary"),
        (None, "does not name its experiment"),
    ],
)
def test_what_is_stored_is_checked(tmp_path, exp, words):
    path = tmp_path / "downloaded.pth"
    checkpoint.save(path, {"model": build(SPEC).state_dict(), "exp": exp})
    with pytest.raises(ModelError, match=words):
        exp_of_checkpoint(path)
