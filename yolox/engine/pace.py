"""How long a step of a training takes on this device, measured before the training begins."""

import copy
import time
from contextlib import closing
from statistics import median
from typing import Any

from yolox.data.cache import ResizedImages
from yolox.engine.setup import prepare
from yolox.engine.state import RunOptions
from yolox.engine.step import batches_of, train_step
from yolox.files import TemporaryFolder

STEPS = 5  # the first of them is slower


def step_seconds(exp: Any, options: RunOptions) -> float:
    """The median of a few steps of a training, whose weights are thrown away.

    exp: left as it is. Raises what `prepare` and `train_step` raise.
    """
    tried = copy.deepcopy(exp)
    folder = TemporaryFolder()
    tried.output_dir = str(folder.path)
    run = prepare(tried, options)
    run.lr_scale = 0.0
    source = ResizedImages(run.dataset, run.sizes.input_size, options.cache)
    seconds = []
    with closing(batches_of(run, source)) as batches:
        for _ in range(min(STEPS, run.steps_per_epoch * run.spec.max_epoch)):
            began = time.perf_counter()
            train_step(run, batches)
            seconds.append(time.perf_counter() - began)
    return median(seconds)
