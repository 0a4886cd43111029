"""The same classes in another order are noticed, wherever a model meets a data set."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.logs import logged
from yolox.backends import ModelInfo
from yolox.cli.jobs.deploy import DeployConfig, _images
from yolox.data.class_order import require_same_order, require_same_split
from yolox.data.dataset import DetectionDataset
from yolox.engine import checkpoint
from yolox.engine.setup import prepare
from yolox.engine.state import RunOptions
from yolox.errors import DataError
from yolox.exp import get_exp


def with_classes(source: Path, target: Path, split: str, change) -> DetectionDataset:
    """The split of a copy of a data set whose categories were changed."""
    if not target.exists():
        shutil.copytree(source, target)
    path = target / "annotations" / f"instances_{split}2017.json"
    content = json.loads(path.read_text())
    change(content["categories"])
    path.write_text(json.dumps(content))
    return DetectionDataset(target, path.name, f"{split}2017", strict=False)


def swap(categories: list[dict]) -> None:
    one, other = categories[0], categories[2]
    one["name"], other["name"] = other["name"], one["name"]


def rename(categories: list[dict]) -> None:
    categories[1]["name"] = "tent"


def renumber(categories: list[dict]) -> None:
    categories[2]["id"] = 99


def nothing(categories: list[dict]) -> None:
    pass


@pytest.fixture
def warnings():
    with logged("WARNING") as lines:
        yield lines


def test_splits(synthetic_dir, tmp_path, warnings):
    train = DetectionDataset(synthetic_dir, "instances_train2017.json", "train2017")
    require_same_split(train, with_classes(synthetic_dir, tmp_path / "a", "val", nothing))
    for change, said in (
        (swap, r"train2017\.json and .*val2017\.json differ .* class 0 is 'disc' and 'square'"),
        (rename, r"class 1 is 'ring' and 'tent'"),
    ):
        val = with_classes(synthetic_dir, tmp_path / change.__name__, "val", change)
        with pytest.raises(DataError, match=said):
            require_same_split(train, val)
    assert not warnings
    require_same_split(train, with_classes(synthetic_dir, tmp_path / "d", "val", renumber))
    assert "category ids: 'square' is 4 and 99" in warnings[0]


def test_model_and_data(synthetic_dir, tmp_path, warnings):
    dataset = DetectionDataset(synthetic_dir, "instances_train2017.json", "train2017")
    names = list(dataset.class_names)
    for unknown in (None, names, names[:-1], [f"class {n}" for n in range(3)]):
        require_same_order(unknown, dataset, "m.pth")
    assert not warnings
    with pytest.raises(DataError, match=r"m\.pth and .*class 0 is 'square' and 'disc'.*order"):
        require_same_order(names[::-1], dataset, "m.pth")
    for _ in range(2):
        require_same_order([*names[:-1], "chess"], dataset, f"{tmp_path}/m.pth")
    assert len(warnings) == 1
    assert "class 2 is 'chess' and 'square'" in warnings[0]


def test_training_compares_its_parts(synthetic_dir, tiny_exp, tmp_path):
    exp = get_exp(exp_file=str(tiny_exp))
    options = RunOptions(batch_size=4, logger="none")
    names = list(prepare(exp, options).dataset.class_names)
    weights = {"model": exp.get_model().state_dict()}
    checkpoint.save(tmp_path / "old.pth", {**weights, "class_names": names[::-1]})
    with pytest.raises(DataError, match=r"old\.pth and .*train2017\.json .*another order"):
        prepare(exp, replace(options, ckpt=str(tmp_path / "old.pth")))
    with_classes(synthetic_dir, tmp_path / "set", "val", swap)
    exp.data_dir = str(tmp_path / "set")
    with pytest.raises(DataError, match="class 0 is 'disc' and 'square'"):
        prepare(exp, options)
    with_classes(synthetic_dir, tmp_path / "set", "train", swap)
    exp.select_ann, exp.select_name = "other.json", "val2017"
    annotations = synthetic_dir / "annotations" / "instances_val2017.json"
    shutil.copy(annotations, tmp_path / "set" / "annotations" / "other.json")
    with pytest.raises(DataError, match=r"other\.json differ"):
        prepare(exp, options)


def test_deployment_with_annotations(synthetic_dir):
    json_file = str(synthetic_dir / "annotations" / "instances_val2017.json")
    config = DeployConfig(
        checkpoint="m.pth", images=str(synthetic_dir / "val2017"), annotations=json_file
    )
    names = DetectionDataset(synthetic_dir, json_file, "val2017").class_names
    _images(config, ModelInfo(3, 32, names))
    with pytest.raises(DataError, match=r"m\.pth and .*another order"):
        _images(config, ModelInfo(3, 32, names[::-1]))
