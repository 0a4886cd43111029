"""Data loaders with workers that hang or die."""

import os
import signal
import time
from multiprocessing import active_children

import pytest
from torch.utils.data import DataLoader, Dataset

from yolox.cli.common import run
from yolox.config import AugmentSpec
from yolox.data.batch import PlaceBatches, Schedule, TrainSamples, train_batches
from yolox.data.cache import ResizedImages
from yolox.data.dataset import DetectionDataset
from yolox.data.loader import watched
from yolox.errors import YoloxError


class Hanging(ResizedImages):
    """One image is never read."""

    def sample(self, index):
        if index == 7:
            time.sleep(600)
        return super().sample(index)


class Deadly(Dataset):
    """Item 5 kills its worker."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return index


def test_a_worker_that_hangs_is_named_and_ended(synthetic_dir):
    dataset = DetectionDataset(synthetic_dir, "instances_train2017.json", "train2017")
    samples = TrainSamples(Hanging(dataset, (64, 64)), AugmentSpec(mosaic_prob=0.0), seed=0)
    places = PlaceBatches(12, 0, Schedule(2, 1, 0, 1, 0), 0, 6)
    bad = next(n for n, batch in enumerate(places) if 7 in [place.image for place in batch])
    first = next(p.image for n, batch in enumerate(places) for p in batch[:1] if n == bad)
    start, seen = time.monotonic(), []
    with pytest.raises(YoloxError) as caught:
        seen += train_batches(samples, places, workers=2, pin_memory=False, timeout=2.0)
    assert f"worker {bad % 2} (pid" in str(caught.value)
    assert "no batch within 2 s (data_timeout); it reads" in str(caught.value)
    assert f"{dataset.images[first].path} and 1 more" in str(caught.value)
    assert active_children() == []
    assert time.monotonic() - start < 30


def test_a_worker_that_dies_is_one_line(capsys):
    loader = DataLoader(Deadly(), sampler=[0, 5, 1, 2], batch_size=1, num_workers=2)
    assert run(lambda argv: len(list(watched(loader, str))) and 0) == 1
    said = capsys.readouterr().err
    assert "| ERROR   | DataLoader worker" in said
    assert "(out of memory? fewer data_num_workers need less)" in said
    assert "Traceback" not in said


class Asked(ResizedImages):
    """Samples that say what a signal to the job does in the process that makes them."""

    def sample(self, index):
        sample = super().sample(index)
        sample.image[:] = signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        return sample


def test_workers_leave_signals_to_the_main_process(synthetic_dir):
    dataset = DetectionDataset(synthetic_dir, "instances_train2017.json", "train2017")
    spec = AugmentSpec(mosaic_prob=0.0, hsv_prob=0.0, flip_prob=0.0)
    samples = TrainSamples(Asked(dataset, (64, 64)), spec, seed=0)
    places = PlaceBatches(12, 0, Schedule(2, 1, 0, 1, 0), 0, 2)
    for workers, ignored in ((0, 0), (1, 1)):
        [first, _] = train_batches(samples, places, workers, pin_memory=False, timeout=60.0)
        assert (first.images == ignored).any(), workers
