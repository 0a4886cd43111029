"""A learning rate for a fine-tune, found by trying: a few steps at each of several rates.

All begin with the same weights, see the same batches, and are judged by the same score. A rate that
is too high spoils a model within some tens of steps, long before a training would notice.
"""

import copy
import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from loguru import logger

from yolox.data.cache import ResizedImages
from yolox.engine.ema import ModelEMA
from yolox.engine.masks import apply_masks
from yolox.engine.optim import make_optimizer
from yolox.engine.restore import load_state
from yolox.engine.saving import DivergedError
from yolox.engine.setup import prepare
from yolox.engine.state import Run, RunOptions
from yolox.engine.step import batches_of, train_step
from yolox.families import Detector
from yolox.files import TemporaryFolder

WARM_UP = 5  # steps in which a rate is reached
EMA_DECAY, EMA_WARMUP = 0.9, 5.0  # what is judged is the average of the last steps

Score = Callable[[Detector], float]  # the higher the better


@dataclass(frozen=True)
class Probe:
    """scores: of the model after a few steps at each rate (of a step, not of an image), -inf where
    it was spoilt. start: of the model before. seconds: of one step.
    """

    scores: dict[float, float]
    start: float
    seconds: float


def probe_rates(
    exp: Any, options: RunOptions, rates: Sequence[float], steps: int, score: Score
) -> Probe:
    """Try learning rates, ascending, until one spoils the model.

    exp: the experiment of the fine-tune, which is left as it is. Raises what `prepare` raises.
    """
    tried = copy.deepcopy(exp)
    folder = TemporaryFolder()
    tried.output_dir = str(folder.path)
    tried.scheduler, tried.warmup_epochs, tried.max_epoch = "cos", 0, max(steps, exp.max_epoch)
    run = prepare(tried, options)
    first = {key: value.clone() for key, value in run.model.state_dict().items()}
    source = ResizedImages(run.dataset, run.sizes.input_size, options.cache)
    start, scores, seconds = score(run.model), {}, list[float]()
    for rate in rates:
        load_state(run.model, first, "the start")
        scores[rate] = _score_after(run, source, (rate, steps), score, seconds)
        logger.info("rate {:g}: {:.4f} (before {:.4f})", rate, scores[rate], start)
        if scores[rate] == -math.inf:
            break
    return Probe(scores, start, median(seconds))


def _score_after(
    run: Run, source: ResizedImages, plan: tuple[float, int], score: Score, seconds: list[float]
) -> float:
    """The score of the average of the weights after so many steps at a rate."""
    rate, steps = plan
    peak = run.spec.basic_lr_per_img * run.options.batch_size
    run.step, run.skipped_steps = 0, 0
    run.optimizer = make_optimizer(run.model, run.spec)
    run.ema = ModelEMA(run.model, EMA_DECAY, EMA_WARMUP)
    run.spec = replace(run.spec, ema=True)
    try:
        with closing(batches_of(run, source)) as batches:
            for number in range(steps):
                run.lr_scale = rate / peak * min((number + 1) / WARM_UP, 1.0)
                began = time.perf_counter()
                train_step(run, batches)
                seconds.append(time.perf_counter() - began)
    except DivergedError:
        return -math.inf
    apply_masks(run.ema.model, run.masks)
    found = score(run.ema.model)
    return found if math.isfinite(found) else -math.inf
