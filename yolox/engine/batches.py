"""The batches of a run, in order, on its device."""

from collections.abc import Generator
from contextlib import closing

import torch

from yolox import dist
from yolox.data.batch import Batch, PlaceBatches, Schedule, TrainSamples, train_batches
from yolox.data.cache import ResizedImages
from yolox.engine.state import Run


def batches_of(run: Run, source: ResizedImages) -> Generator[Batch, None, None]:
    """Batches from the current step to the last one, on the device of the run."""
    schedule = Schedule(
        batch=run.options.batch_size,
        rounds=run.spec.accumulate,
        rank=dist.rank(),
        world=dist.world_size(),
        first_plain=run.spec.first_plain_epoch * run.steps_per_epoch,
    )
    places = PlaceBatches(len(source), run.spec.seed, schedule, run.step, run.total_steps)
    samples = TrainSamples(source, run.exp.augment_spec(), run.spec.seed)
    exp, device = run.exp, run.options.device
    pinned = device.type == "cuda"
    batches = train_batches(samples, places, exp.data_num_workers, pinned, exp.data_timeout)
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
    with closing(batches):
        for batch in batches:
            yield on_device(batch, device, stream)


def on_device(batch: Batch, device: torch.device, stream: torch.cuda.Stream | None) -> Batch:
    """Images and targets on the device; the indices stay on the host.

    stream: on which the copy runs while the device still computes the step before.
    """
    if stream is None:
        return Batch(batch.images.to(device), batch.targets.to(device), batch.indices)
    current = torch.cuda.current_stream(device)
    with torch.cuda.stream(stream):
        images = batch.images.to(device, non_blocking=True)
        targets = batch.targets.to(device, non_blocking=True)
    current.wait_stream(stream)
    for tensor in (images, targets):
        tensor.record_stream(current)  # its memory is not given away before the step is done
    return Batch(images, targets, batch.indices)
