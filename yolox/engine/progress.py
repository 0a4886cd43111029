"""What a training run says about itself: its beginning, every few steps, its end."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from loguru import logger
from tqdm import tqdm

from yolox import dist
from yolox.data.dataset import DetectionDataset, size_warning
from yolox.data.problems import summary
from yolox.engine.curves import Curves
from yolox.engine.finite import check_losses
from yolox.engine.meters import Meter, duration, peak_memory_mb
from yolox.engine.schedule import input_size
from yolox.engine.state import Run
from yolox.engine.validation import choice_words
from yolox.models.complexity import complexity, describe

TIMES = ("iteration", "data")  # what a meter holds beside losses


def report_step(run: Run, meter: Meter, curves: Curves) -> None:
    """Every few steps a line; what it reads from the device must be finite.

    Raises DivergedError otherwise.
    """
    within = (run.step - 1) % run.steps_per_epoch + 1
    if within % run.spec.print_interval and within != run.steps_per_epoch:
        return
    check_losses(run)
    means = meter.means()
    height, width = input_size(run.step - 1, run.spec.seed, run.sizes)
    rate = run.optimizer.param_groups[0]["lr"]
    left = run.total_steps - run.step
    names = [key for key in means if key not in TIMES]
    losses = ", ".join(f"{k.removesuffix('_loss')} {means[k]:.3f}" for k in names)
    logger.info(
        "epoch {}/{}, step {}/{}: {}, lr {:.2e}, {}x{}, "
        "{:.3f} s/step (data {:.3f}), {:.0f} MB, ETA {}",
        (run.step - 1) // run.steps_per_epoch + 1,
        run.spec.max_epoch,
        within,
        run.steps_per_epoch,
        losses,
        rate,
        height,
        width,
        means["iteration"],
        means["data"],
        peak_memory_mb(run.options.device),
        duration(left * means["iteration"]),
    )
    curves.add({f"train/{k}": means[k] for k in names} | {"train/lr": rate}, run.step)


def log_start(run: Run) -> None:
    """Device, model, data and options, for the log of the first process."""
    if dist.rank() != 0:
        return
    device, precision = run.options.device, run.options.precision
    if precision == "fp16" and not run.scaler.is_enabled():
        logger.info("--fp16 on {}: bf16 autocast, no scaler", device.type)
    logger.info("device {}, {} process(es), {}", device, dist.world_size(), precision)
    test_size = run.sizes.test_size
    logger.info("model: {}", describe(complexity(run.model, test_size), test_size))
    for dataset in (run.dataset, run.eval_dataset):
        _log_dataset(dataset)
    if run.select_dataset is not None:
        _log_dataset(run.select_dataset)
        _warn_of_shared_images(run, run.select_dataset)
    if not box_count(run.choice_dataset):
        logger.warning(
            "{} has no boxes to evaluate on: best_ckpt.pth follows the last evaluated epoch",
            run.choice_dataset.json_path,
        )
    options = "\n".join(f"  {key}: {value}" for key, value in sorted(run.exp.options().items()))
    logger.info("options\n{}", options)


def box_count(dataset: DetectionDataset) -> int:
    """Boxes to train or evaluate on, crowds left out."""
    return sum(len(dataset.targets(index)[0]) for index in range(len(dataset)))


def _log_dataset(dataset: DetectionDataset) -> None:
    logger.info("{}: {} images, {} boxes", dataset.json_path, len(dataset), box_count(dataset))
    lines = summary(dataset.problems)
    for line in (*lines, dataset.overhang.warning(), size_warning(dataset)):
        if line is not None:
            logger.warning("{}", line)


def _warn_of_shared_images(run: Run, chosen_on: DetectionDataset) -> None:
    """Images that choose the epoch should be neither trained nor reported on."""
    own = {record.path for record in chosen_on.images}
    for purpose, dataset in (("trained on", run.dataset), ("reported on", run.eval_dataset)):
        shared = own & {record.path for record in dataset.images}
        if shared:
            logger.warning(
                "{} of the {} images that choose the best epoch are {} too, such as {}",
                len(shared),
                len(own),
                purpose,
                min(shared),
            )


def log_plain_phase(run: Run) -> None:
    """Say where mosaic and mixup end, which is one epoch later than in official YOLOX."""
    logger.info(
        "epoch {} of {}: mosaic and mixup are off and the loss is in its last form (YOLOX's: "
        "with L1) from here, for the {} no_aug_epochs (official YOLOX begins one epoch earlier "
        "for the same option)",
        run.epoch + 1,
        run.spec.max_epoch,
        run.spec.max_epoch - run.spec.first_plain_epoch,
    )


def log_end(run: Run, last_ap: float, report_ap: float | None) -> None:
    """The best AP, on which images it was chosen, and that of the last evaluation."""
    if dist.rank() != 0:
        return
    best = (
        f"{run.best_ap:.4f} ({choice_words(run)})" if run.best_ap >= 0 else "undefined (no boxes)"
    )
    apart = f", {report_ap:.4f} on the validation images" if report_ap is not None else ""
    last = f", the last one {last_ap:.4f}" if last_ap == last_ap else ""
    logger.info("done: best AP {}{}{}, checkpoints in {}", best, last, apart, run.folder)


@contextmanager
def progress_bar(run: Run) -> Iterator[tqdm]:  # type: ignore[type-arg]
    """A bar over the optimiser steps, where the first process has a terminal."""
    shown = sys.stderr.isatty() and dist.rank() == 0
    with tqdm(total=run.total_steps, initial=run.step, desc="training", disable=not shown) as bar:
        yield bar
