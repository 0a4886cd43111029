"""How a recovery is run where its recipe does not say: how long, with what, and at which rate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from loguru import logger

from yolox.compress.calibration import ImageSet
from yolox.compress.selection import OutputDistance, OutputSimilarity
from yolox.compress.stage import DENSE
from yolox.engine.rate import Probe, probe_rates
from yolox.engine.state import RunOptions
from yolox.exp import BaseExp
from yolox.models.network import Network

# Filters of one norm and AdamW make a rate fit weights of any scale. The average follows within
# about 100 steps: YOLOX's own averages nothing in so short a training.
AUTOMATIC: Mapping[str, Any] = {
    "teacher": DENSE,
    "distill_features": 1.0,
    "balance_filters": True,
    "optimizer": "adamw",
    "scheduler": "cos",
    "ema_decay": 0.99,
    "ema_warmup": 50.0,
}
STEPS = 50.0  # times the root of the number of images: 700 for 200, 3,500 for 5,000
LEAST_EPOCHS = 4
RATES = (1e-4, 3e-4, 1e-3, 3e-3)  # of a step
TRIED_STEPS = 20
WARM_UP, PLAIN, EVALUATIONS = 0.03, 0.2, 4  # shares of all epochs, and how many are evaluated


def automatic_options(images: int, batch: int) -> dict[str, Any]:
    """Options of the experiment for a recovery on so many images, but for the learning rate."""
    epochs = max(math.ceil(STEPS * math.sqrt(images) / math.ceil(images / batch)), LEAST_EPOCHS)
    return {
        **AUTOMATIC,
        "max_epoch": epochs,
        "warmup_epochs": max(round(WARM_UP * epochs), 1),
        "no_aug_epochs": max(round(PLAIN * epochs), 1),
        "eval_interval": max(round(epochs / EVALUATIONS), 1),
    }


@dataclass(frozen=True)
class RateSearch:
    """Finds a learning rate: the one after whose first steps a model is nearest to the dense one.

    images: to compare their outputs on.
    """

    images: ImageSet
    distance: OutputDistance

    def rate(
        self, dense: Network, device: torch.device, exp: BaseExp, options: RunOptions
    ) -> float:
        """The rate per image. Says how long the fine-tune will take on this device."""
        score = OutputSimilarity(dense, self.images.open(device), self.distance.of)
        probe = probe_rates(exp, options, RATES, TRIED_STEPS, score)
        found = best_rate(probe)
        images, batch = len(exp.get_dataset()), options.batch_size
        steps = exp.max_epoch * math.ceil(images / batch)
        logger.info(
            "{}: {} steps in {} epochs of {} images at a rate of {:g}, about {} on {}",
            exp.exp_name,
            steps,
            exp.max_epoch,
            images,
            found,
            duration(steps * probe.seconds),
            device,
        )
        return found / batch


def best_rate(probe: Probe) -> float:
    """The rate with the best score; of equal ones the lowest."""
    return max(sorted(probe.scores), key=lambda rate: probe.scores[rate])


def duration(seconds: float) -> str:
    """In words: '40 s', '12 min', '3.2 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
