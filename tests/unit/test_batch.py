"""Which sample stands where, and what a cache makes of it."""

import os

import numpy as np
import pytest

from yolox.config import AugmentSpec
from yolox.data.batch import PlaceBatches, Schedule, TrainSamples
from yolox.data.cache import ResizedImages
from yolox.data.dataset import DetectionDataset


def _dataset(folder):
    return DetectionDataset(folder, "instances_train2017.json", "train2017")


def _places(images=10, batch=4, rounds=1, rank=0, world=1, first=0, last=5):
    return list(PlaceBatches(images, 7, Schedule(batch, rounds, rank, world, 3), first, last))


def test_every_pass_visits_every_image_once():
    flat = [place for batch in _places() for place in batch]
    assert [place.position for place in flat] == list(range(20))
    for start in (0, 10):
        assert sorted(place.image for place in flat[start : start + 10]) == list(range(10))
    assert [p.image for p in flat[:10]] != [p.image for p in flat[10:]]


def test_processes_and_rounds_share_a_step():
    whole = [{p.position for p in batch} for batch in _places(batch=8)]
    parts = [_places(batch=8, world=2, rank=rank) for rank in (0, 1)]
    for step, wanted in enumerate(whole):
        assert {p.position for part in parts for p in part[step]} == wanted
    rounds = _places(batch=8, rounds=2)
    assert len(rounds) == 10
    for step, wanted in enumerate(whole):
        assert {p.position for p in rounds[2 * step] + rounds[2 * step + 1]} == wanted


def test_a_later_start_continues_the_order():
    assert _places(first=2) == _places()[2:]


def test_mosaic_ends_with_its_step():
    assert [batch[0].mosaic for batch in _places()] == [True, True, True, False, False]


def test_samples_depend_on_position_alone(synthetic_dir):
    source = ResizedImages(_dataset(synthetic_dir), (64, 64))
    samples = TrainSamples(source, AugmentSpec(), seed=3)
    place = _places(images=12)[0][1]
    one, other = samples[place], samples[place]
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    moved = samples[place._replace(position=99)]
    assert not np.array_equal(one[0], moved[0])


def test_plain_samples_keep_their_boxes(synthetic_dir):
    dataset = _dataset(synthetic_dir)
    spec = AugmentSpec(hsv_prob=0, flip_prob=0)
    samples = TrainSamples(ResizedImages(dataset, (64, 64)), spec, seed=0)
    for place in (p for batch in _places(images=12, first=3) for p in batch):
        image, targets, index = samples[place]
        boxes, labels = dataset.targets(index)
        record = dataset.images[index]
        ratio = 64 / max(record.height, record.width)
        real = targets[targets[:, 3] > 0]
        assert image.shape == (3, 64, 64)
        np.testing.assert_allclose(real[:, 0], labels)
        np.testing.assert_allclose(real[:, 3:], (boxes[:, 2:] - boxes[:, :2]) * ratio, atol=1e-3)


@pytest.mark.parametrize("change", ["touch", "exchange"])
def test_disk_cache_notices_changed_files(synthetic_dir, tmp_path, change):
    import shutil

    folder = tmp_path / "data"
    shutil.copytree(synthetic_dir, folder)
    before = ResizedImages(_dataset(folder), (64, 64), "disk")
    index_file = next((folder / ".cache").glob("*.json"))
    key = index_file.read_text()
    ResizedImages(_dataset(folder), (64, 64), "disk")
    assert index_file.read_text() == key
    path, other = _two_of_one_size(before.dataset)
    if change == "touch":
        os.utime(path, ns=(1, 1))
    else:
        shutil.copy(other, path)
    after = ResizedImages(_dataset(folder), (64, 64), "disk")
    assert index_file.read_text() != key
    plain = ResizedImages(_dataset(folder), (64, 64))
    for index in range(len(plain)):
        assert np.array_equal(after.sample(index).image, plain.sample(index).image)


def _two_of_one_size(dataset):
    first = dataset.images[0]
    same = (r for r in dataset.images[1:] if (r.width, r.height) == (first.width, first.height))
    return first.path, next(same).path
