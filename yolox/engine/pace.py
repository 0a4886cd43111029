"""How long a training takes on this device, estimated from its first steps before it begins."""

import copy
import time
from contextlib import closing
from statistics import median
from typing import Any, NamedTuple

from yolox.data.cache import ResizedImages
from yolox.engine.batches import batches_of
from yolox.engine.finite import check_losses
from yolox.engine.setup import prepare
from yolox.engine.state import RunOptions
from yolox.engine.step import train_step
from yolox.files import TemporaryFolder

STEPS = 5  # the first of them is slower


class Pace(NamedTuple):
    """Of a training: its images, its steps, and the seconds of one."""

    images: int
    steps: int
    step_seconds: float


def measured_pace(exp: Any, options: RunOptions) -> Pace:
    """The median time of a few steps, whose weights are thrown away.

    exp: left as it is. Raises what `prepare` and `train_step` raise, and DivergedError.
    """
    tried = copy.deepcopy(exp)
    folder = TemporaryFolder()
    tried.output_dir = str(folder.path)
    run = prepare(tried, options)
    run.lr_scale = 0.0
    source = ResizedImages(run.dataset, run.sizes.input_size, options.cache)
    seconds = []
    with closing(batches_of(run, source)) as batches:
        for _ in range(min(STEPS, run.total_steps)):
            began = time.perf_counter()
            train_step(run, batches)
            check_losses(run)  # the device has done the step
            seconds.append(time.perf_counter() - began)
    return Pace(len(run.dataset), run.total_steps, median(seconds))
