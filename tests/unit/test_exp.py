"""Experiments and their options."""

import json
import math

import numpy as np
import pytest

from yolox.config import AugmentSpec, EvalSpec, TrainSpec
from yolox.errors import UsageError
from yolox.exp import Exp, get_exp
from yolox.exp.build import shipped_names
from yolox.families.yolox import LossSpec, YoloxSpec
from yolox.models.complexity import count_parameters


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_experiments_are_valid(name):
    exp = get_exp(exp_name=name)
    exp.validate()
    assert exp.exp_name == name.replace("-", "_")


def test_models_are_fresh_each_time():
    exp = get_exp(exp_name="yolox-nano")
    assert exp.get_model() is not exp.get_model()


@pytest.mark.parametrize(("shortcut", "millions"), [("hidden", 44.5), ("rest", 47.05)])
def test_p6_parameters(shortcut, millions):
    exp = get_exp(exp_name="yolox-m-p6")
    exp.merge(["csp_shortcut", shortcut])
    assert count_parameters(exp.get_model()) / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["max_epochs", "3"], "did you mean 'max_epoch'"),
        (["max_epoch", "three"], "'max_epoch': 'three' is not a whole number"),
        (["ema", "maybe"], "True or False"),
        (["input_size", "(1, 2, 3)"], "a tuple (int, int)"),
        (["max_epoch"], "has no value"),
        (["get_model", "1"], "unknown option"),
    ],
)
def test_wrong_options_are_named(pairs, words):
    with pytest.raises(UsageError) as caught:
        Exp().merge(pairs)
    assert words in str(caught.value)


def test_options_are_parsed_by_type():
    exp = Exp()
    exp.merge(["ema", "False", "data_dir", "x", "width", "1", "input_size", "[64, 96]"])
    exp.merge(["multiscale_range", "(-3, 1)", "random_size", "None"])
    assert exp.ema is False
    assert exp.data_dir == "x"
    assert (exp.width, exp.input_size) == (1.0, (64, 96))
    assert exp.multiscale_range == (-3, 1)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("input_size", (640, 650), "input_size (640, 650) is not a multiple of 32"),
        ("act", "sily", "did you mean 'silu'"),
        ("mosaic_prob", 2.0, "mosaic_prob 2.0 is not a probability"),
        ("max_epoch", 0, "max_epoch 0 is not positive"),
        ("depth", "deep", "depth"),
    ],
)
def test_wrong_values_are_named(key, value, words):
    exp = Exp()
    setattr(exp, key, value)
    with pytest.raises(UsageError) as caught:
        exp.validate()
    assert words in str(caught.value)


def test_a_prediction_has_the_experiments_workers_and_patience():
    exp = Exp()
    exp.merge(["data_timeout", "7", "data_num_workers", "3", "test_conf", "0.2"])
    options = exp.predict_options()
    assert (options.timeout, options.workers, options.eval_spec.conf) == (7.0, 3, 0.2)


def test_options_are_what_a_record_can_hold():
    exp = Exp()
    exp.seen, exp.spread, exp.share = np.float32(0.5), (1, (2, 3)), math.inf
    exp.odd, exp.thing = "\ud800", object()
    found = exp.options()
    assert (found["seen"], found["spread"]) == (0.5, [1, [2, 3]])
    assert not {"share", "odd", "thing"} & found.keys()
    assert json.loads(json.dumps(found)) == found


def test_p6_sizes_are_multiples_of_64():
    exp = get_exp(exp_name="yolox-m-p6")
    exp.merge(["input_size", "(96, 96)"])
    with pytest.raises(UsageError, match="multiple of 64"):
        exp.validate()


def test_unknown_names_and_files():
    with pytest.raises(UsageError, match="did you mean 'yolox-s'"):
        get_exp(exp_name="yolo-s")
    with pytest.raises(UsageError, match="does not exist"):
        get_exp(exp_file="nowhere.py")
    with pytest.raises(UsageError, match="name one experiment"):
        get_exp()


def test_file_without_exp(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("x = 1\n")
    with pytest.raises(UsageError, match="no class Exp"):
        get_exp(exp_file=str(path))


def test_near_misses_in_a_file_are_warned_of(tmp_path, capsys):
    from yolox.engine.log import set_up_log

    path = tmp_path / "typo.py"
    path.write_text(
        "from yolox.exp import Exp as Base\n"
        "class Exp(Base):\n    def __init__(self):\n"
        "        super().__init__()\n        self.max_epochs = 3\n        self.my_own = 1\n"
    )
    set_up_log()
    get_exp(exp_file=str(path))
    words = capsys.readouterr().err
    assert "'max_epochs' is not an option; did you mean 'max_epoch'" in words
    assert "my_own" not in words


def test_defaults_stand_in_one_place_only_by_agreement():
    exp = Exp()
    assert exp.detector_spec() == YoloxSpec()
    assert exp.make(LossSpec) == LossSpec()
    assert exp.augment_spec() == AugmentSpec()
    assert exp.train_spec() == TrainSpec()
    assert exp.eval_spec() == EvalSpec()
