"""The synthetic data set: reproducible, annotated exactly, and never written over other data."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from yolox.data import synthetic
from yolox.data.dataset import DetectionDataset
from yolox.data.synthetic import CATEGORIES, SyntheticSpec, draw_image, make_dataset
from yolox.errors import DataError

SPEC = SyntheticSpec(train_images=40, val_images=20, size=256, seed=3)


def digests(folder: Path) -> dict[str, str]:
    """Path inside the folder -> hash of the file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.md5(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of SPEC, to be read only."""
    out_dir = tmp_path_factory.mktemp("data") / "synthetic"
    make_dataset(out_dir, SPEC)
    return out_dir


@pytest.fixture(scope="module")
def train(folder: Path) -> DetectionDataset:
    return DetectionDataset(folder, "instances_train2017.json", "train2017")


def test_same_spec_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    make_dataset(tmp_path / "again", SPEC)
    assert digests(tmp_path / "again") == digests(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_an_image_does_not_depend_on_how_many_there_are(folder: Path) -> None:
    more = SyntheticSpec(train_images=999, val_images=7, size=256, seed=3)
    for split, index in (("train", 5), ("val", 5)):
        image, annotations = draw_image(SPEC, split, index)
        other, others = draw_image(more, split, index)
        np.testing.assert_array_equal(image, other)
        assert annotations == others
    assert draw_image(SPEC, "train", 5)[1] != draw_image(SPEC, "val", 5)[1]


def test_seed_changes_the_images() -> None:
    other = SyntheticSpec(train_images=40, val_images=20, size=256, seed=4)
    image, redrawn = draw_image(SPEC, "train", 0)[0], draw_image(other, "train", 0)[0]
    assert image.shape != redrawn.shape or not np.array_equal(image, redrawn)


def test_reads_as_coco_without_problems(train: DetectionDataset, folder: Path) -> None:
    val = DetectionDataset(folder, "instances_val2017.json", "val2017")
    assert (len(train), len(val)) == (40, 20)
    assert train.problems == val.problems == []
    assert dict(zip(train.class_names, train.category_ids, strict=True)) == CATEGORIES
    assert np.ptp(train.category_ids) + 1 > len(train.category_ids)  # ids have gaps


def test_boxes_lie_inside_and_sizes_are_the_files(train: DetectionDataset) -> None:
    sizes = set()
    for index, record in enumerate(train.images):
        image = train.read_image(index)
        assert image.shape == (record.height, record.width, 3)
        sizes.add((record.width, record.height))
        boxes, _ = train.targets(index)
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= [record.width, record.height]).all()
    assert sizes == {(256, 256), (256, 192), (192, 256)}


def test_all_classes_and_several_scales(train: DetectionDataset) -> None:
    targets = [train.targets(index) for index in range(len(train))]
    labels = np.concatenate([labels for _, labels in targets])
    boxes = np.concatenate([boxes for boxes, _ in targets])
    assert set(labels.tolist()) == set(range(len(CATEGORIES)))
    side = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    below_32, below_64, below_128, above = np.histogram(side, [0, 32, 64, 128, 256])[0]
    assert min(below_32, below_64, below_128) >= 10
    assert above >= 3


def test_share_of_empty_images(train: DetectionDataset) -> None:
    empty = [index for index in range(len(train)) if not len(train.targets(index)[1])]
    assert empty == [19, 39]


def test_boxes_are_tight_around_visible_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = []
    annotate = synthetic._annotate

    def spy(shape, visible):
        masks.append((visible, annotate(shape, visible)))
        return masks[-1][1]

    monkeypatch.setattr(synthetic, "_annotate", spy)
    draw_image(SPEC, "train", 1)
    assert masks
    for visible, found in masks:
        rows, columns = np.nonzero(visible)
        x, y, width, height = found[0]["bbox"]
        assert (x, y) == (columns.min(), rows.min())
        assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)
        assert found[0]["area"] == len(rows)


def test_hidden_objects_are_not_annotated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where objects may hide each other wholly, what remains annotated is mostly visible."""
    monkeypatch.setattr(synthetic, "MAX_OVERLAP", 1.0)
    crowded = SyntheticSpec(train_images=1, val_images=1, max_objects=40, empty_share=0.0)
    strict = sum(len(draw_image(crowded, "train", index)[1]) for index in range(5))
    monkeypatch.setattr(synthetic, "MIN_VISIBLE", 0.01)
    assert strict < sum(len(draw_image(crowded, "train", index)[1]) for index in range(5))


def test_complete_set_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    monkeypatch.setattr(synthetic, "draw_image", None)  # calling it would fail
    make_dataset(folder, SPEC)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_other_spec_or_missing_image_is_written_anew(tmp_path: Path) -> None:
    small = SyntheticSpec(train_images=2, val_images=1, size=64)
    make_dataset(tmp_path / "set", SyntheticSpec(train_images=3, val_images=1, size=64))
    make_dataset(tmp_path / "set", small)
    assert len(list((tmp_path / "set" / "train2017").iterdir())) == 2
    complete = digests(tmp_path / "set")
    (tmp_path / "set" / "train2017" / "000000000001.jpg").unlink()
    make_dataset(tmp_path / "set", small)
    assert digests(tmp_path / "set") == complete


def test_refuses_a_folder_that_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="holds something else"):
        make_dataset(tmp_path, SyntheticSpec(train_images=1, val_images=1, size=64))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_refuses_to_delete_added_files(tmp_path: Path) -> None:
    make_dataset(tmp_path / "set", SyntheticSpec(train_images=1, val_images=1, size=64))
    (tmp_path / "set" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"also holds notes\.txt"):
        make_dataset(tmp_path / "set", SyntheticSpec(train_images=2, val_images=1, size=64))
    assert (tmp_path / "set" / "notes.txt").is_file()


def test_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "set").write_text("")
    with pytest.raises(DataError, match="is a file"):
        make_dataset(tmp_path / "set", SPEC)


def test_broken_off_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def breaks(spec, split, index):
        if drawn:
            raise KeyboardInterrupt
        drawn.append(index)
        return draw_image(spec, split, index)

    monkeypatch.setattr(synthetic, "draw_image", breaks)
    with pytest.raises(KeyboardInterrupt):
        make_dataset(tmp_path / "set", SyntheticSpec(train_images=2, val_images=1, size=64))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("train_images", 0), ("val_images", 0), ("size", 32), ("seed", -1), ("empty_share", 1.0)],
)
def test_impossible_specs_name_the_value(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{key} {value}"):
        SyntheticSpec(**{key: value})
