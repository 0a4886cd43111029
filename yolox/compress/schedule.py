"""How a recovery is run where its recipe does not say: how long, with what, and at which rate."""

import math
from collections.abc import Mapping
from typing import Any

from loguru import logger

from yolox.compress.stage import DENSE
from yolox.engine.pace import measured_pace
from yolox.engine.state import RunOptions
from yolox.exp import BaseExp

# Filters of one norm and AdamW make one rate fit weights of any scale. The average follows within
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
# Of a step. Where it ruins a model, the guard takes it back and lowers it. Half of nano, 312 steps:
# 1e-3 / 3e-3 / 1e-2 gave AP .564 / .594 / .609 on BCCD and .492 / .536 / .592 on drawn shapes. With
# 716 steps on BCCD, 3e-3 / 6e-3 / 1e-2 gave .620 / .624 / .620.
RATE = 3e-3
# The same where the teacher's answers are learnt from: most images have no labels, and its answers
# say less than labels of how far to go. 30 % fewer MACs on COCO, 1,500 pictures: 425 steps at 1e-3
# / 3e-3 gave .180 / .163, 2,125 steps at 1e-3 / 2e-3 .176 / .153 from a worse start. Features of
# all layers instead of the neck's gave .209 instead of .180 (425 steps at 1e-3); with labels (half
# of nano on BCCD) .601 instead of .607. Where weights were only masked, little is lost that could
# be found again: 49 % masks, at .306 adapted, had .302 after 595 steps at 1e-3, .310 after 340 at
# 2e-4.
TAUGHT: Mapping[str, Any] = {"label_weight": 0.0, "distill_layers": "all", "distill_features": 3.0}
TAUGHT_RATE, TAUGHT_MASKS_RATE = 1e-3, 2e-4
# Times the root of the number of images. Half of nano on BCCD, 205 images, the seed that lost most:
# 716 / 1,432 steps gave .590 / .601 on test images. Steps that compare all features take longer.
STEPS, TAUGHT_STEPS = 70.0, 40.0
LEAST_EPOCHS = 4
WARM_UP, PLAIN, EVALUATIONS = 0.03, 0.2, 4  # shares of all epochs, and how many are evaluated


def automatic_options(
    images: int, batch: int, *, labelled: bool = True, cut: bool = True, epochs: int | None = None
) -> dict[str, Any]:
    """Options of the experiment for a recovery on so many images.

    labelled: whether labels are learnt from; else the dense model's answers are. cut: whether
    channels are gone, or weights masked only. epochs: where the recipe says how many.
    """
    rate, steps = RATE, STEPS
    if not labelled:
        rate, steps = TAUGHT_RATE if cut else TAUGHT_MASKS_RATE, TAUGHT_STEPS
    if epochs is None:
        epochs = max(math.ceil(steps * math.sqrt(images) / math.ceil(images / batch)), LEAST_EPOCHS)
    return {
        **AUTOMATIC,
        **({} if labelled else TAUGHT),
        "basic_lr_per_img": rate / batch,
        "max_epoch": epochs,
        "warmup_epochs": min(max(round(WARM_UP * epochs), 1), epochs - 1),
        "no_aug_epochs": min(max(round(PLAIN * epochs), 1), epochs - 1),
        "eval_interval": max(round(epochs / EVALUATIONS), 1),
    }


def announce(exp: BaseExp, options: RunOptions) -> None:
    """Say how long a fine-tune will take on this device, before it begins."""
    pace = measured_pace(exp, options)
    logger.info(
        "{}: {} steps in {} epochs of {} images at a rate of {:g}, about {} on {}",
        exp.exp_name,
        pace.steps,
        exp.max_epoch,
        pace.images,
        exp.basic_lr_per_img * options.batch_size,
        duration(pace.steps * pace.step_seconds),
        options.device,
    )


def duration(seconds: float) -> str:
    """In words: '40 s', '12 min', '3.2 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
