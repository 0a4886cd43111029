"""From samples to training batches.

Every sample of a run has a position. Which image stands at a position, and every random draw made
for it, depend on the seed and the position alone: not on workers, processes or interruptions.
"""

import signal
from collections.abc import Generator, Iterator
from itertools import islice
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from yolox.allocator import keep_freed_memory
from yolox.config import AugmentSpec
from yolox.data.augment import affine_matrix, draw_affine, finish_training_sample
from yolox.data.cache import ResizedImages
from yolox.data.loader import watched
from yolox.data.mosaic import draw_centre, draw_mixup
from yolox.data.sample import Float32, Sample, UInt8
from yolox.data.tiles import Tile, mixed_up, warped_mosaic
from yolox.errors import DataError

PARTNER_TRIES = 100  # draws for a mixup partner with boxes before mixup is left out


class Place(NamedTuple):
    """One sample of the run: its position, its image, and whether mosaic and mixup are on."""

    position: int
    image: int
    mosaic: bool


class Batch(NamedTuple):
    """images [B, 3, H, W] uint8 BGR; targets [B, N, 5] class, cx, cy, w, h; indices [B]."""

    images: Tensor
    targets: Tensor
    indices: Tensor


class TrainSamples(Dataset[tuple[UInt8, Float32, int]]):
    """Augmented training samples, addressed by `Place`."""

    def __init__(self, source: ResizedImages, spec: AugmentSpec, seed: int):
        self.source = source
        self.spec = spec
        self.seed = seed

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, place: Place) -> tuple[UInt8, Float32, int] | DataError:  # type: ignore[override]
        """image [3, H, W] uint8, targets [N, 5], index; an error is handed over, not raised.

        A worker process cannot raise our errors without losing their type on the way.
        """
        rng = np.random.default_rng([self.seed, 1, place.position])
        try:
            sample = self._augmented(place, rng)
        except DataError as error:
            return error
        image, targets = finish_training_sample(sample, self.source.size_hw, self.spec, rng)
        return image, targets, place.image

    def _augmented(self, place: Place, rng: np.random.Generator) -> Sample:
        if not place.mosaic or rng.random() >= self.spec.mosaic_prob:
            return self.source.sample(place.image)
        size_hw = self.source.size_hw
        others = rng.integers(0, len(self.source), 3)
        tiles = [self.source.tile(int(index)) for index in (place.image, *others)]
        centre, affine = draw_centre(rng, size_hw), draw_affine(rng, self.spec)
        sample = warped_mosaic(tiles, centre, affine_matrix(affine, size_hw), size_hw)
        wanted = self.spec.enable_mixup and rng.random() < self.spec.mixup_prob
        partner = self._partner(rng) if wanted and len(sample.boxes_xyxy) else None
        return (
            mixed_up(sample, partner, draw_mixup(rng, self.spec.mixup_scale)) if partner else sample
        )

    def _partner(self, rng: np.random.Generator) -> Tile | None:
        """A random image with at least one box, if one is found."""
        for index in rng.integers(0, len(self.source), PARTNER_TRIES):
            if len(self.source.dataset.targets(int(index))[0]):
                return self.source.tile(int(index))
        return None


class Schedule(NamedTuple):
    """How positions become batches.

    batch: samples per step over all processes and accumulation rounds. rounds: parts of a step.
    rank, world: number of this process, and how many there are. first_plain: the step from which
    mosaic and mixup are off.
    """

    batch: int
    rounds: int
    rank: int
    world: int
    first_plain: int


class PlaceBatches:
    """Batches of places for one process, from one step up to another: a batch sampler.

    Images are visited in a fresh permutation for each pass; the last batch of a pass is filled
    from the next one, so that every step sees a full batch.
    """

    def __init__(self, images: int, seed: int, schedule: Schedule, first: int, last: int):
        self.images = images
        self.seed = seed
        self.schedule = schedule
        self.first = first
        self.last = last

    def __len__(self) -> int:
        return (self.last - self.first) * self.schedule.rounds

    def __iter__(self) -> Iterator[list[Place]]:
        plan = self.schedule
        micro = plan.batch // (plan.rounds * plan.world)
        visiting, order = -1, np.zeros(0, np.int64)
        for step in range(self.first, self.last):
            for part in range(plan.rounds):
                start = step * plan.batch + (part * plan.world + plan.rank) * micro
                places = []
                for position in range(start, start + micro):
                    if position // self.images != visiting:
                        visiting = position // self.images
                        order = np.random.default_rng([self.seed, 0, visiting]).permutation(
                            self.images
                        )
                    index = int(order[position % self.images])
                    places.append(Place(position, index, step < plan.first_plain))
                yield places


def collate(samples: list[tuple[UInt8, Float32, int] | DataError]) -> Batch | DataError:
    """Stack samples; the first error takes the batch's place."""
    for sample in samples:
        if isinstance(sample, DataError):
            return sample
    images, targets, indices = zip(*samples, strict=True)  # type: ignore[misc]
    return Batch(
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.stack(targets)),
        torch.tensor(indices),
    )


def start_worker(worker: int) -> None:
    """No OpenCV threads, which would crowd out training; and no death by a signal to the job.

    The main process decides when to stop, and saves first; its workers go with it.
    """
    cv2.setNumThreads(0)
    keep_freed_memory()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def train_batches(
    samples: TrainSamples, places: PlaceBatches, workers: int, pin_memory: bool, timeout: float
) -> Generator[Batch, None, None]:
    """Batches in order. timeout: seconds that a batch may take to be made by a worker.

    Raises the DataError that a sample met, YoloxError where a worker hangs.
    """
    loader: DataLoader[Batch | DataError] = DataLoader(
        samples,  # type: ignore[arg-type]
        batch_sampler=places,  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        worker_init_fn=start_worker,
        timeout=timeout if workers else 0,
    )

    def describe(number: int) -> str:
        batch = next(islice(places, number, None))
        paths = [samples.source.dataset.images[place.image].path for place in batch]
        return f"{paths[0]} and {len(paths) - 1} more"

    for batch in watched(loader, describe):
        if isinstance(batch, DataError):
            raise batch
        yield batch
