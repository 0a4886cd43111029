"""One optimiser step: batches, losses, gradients, what to do where they are not finite."""

import math
import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from loguru import logger
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from yolox import dist
from yolox.data.batch import Batch, PlaceBatches, Schedule, TrainSamples, train_batches
from yolox.data.cache import ResizedImages
from yolox.engine.masks import apply_masks
from yolox.engine.saving import DivergedError
from yolox.engine.schedule import input_size, learning_rate
from yolox.engine.state import Run
from yolox.files import write_json

MOST_SKIPPED = 20  # steps in a row: the scale starts at 2^16, and each of them halves it
OVERFLOWED = "step {} is skipped, its {} overflowed ({} in a row): the scale is {:g} now"


def train_step(run: Run, batches: Iterator[Batch]) -> tuple[dict[str, float], float]:
    """One optimiser step over all rounds; its losses and the seconds waited for data.

    A step that overflows in fp16 changes nothing but the scaler: where it is the loss that does, no
    losses are returned. Raises DivergedError where loss or gradients do so too often in a row, and
    where the loss is not finite otherwise.
    """
    peak = run.spec.basic_lr_per_img * run.options.batch_size
    rate = learning_rate(run.step, run.steps_per_epoch, peak, run.spec) * run.lr_scale
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    training_mode(run)
    before = _statistics(run.model) if run.scaler.is_enabled() else []
    totals: dict[str, float] = defaultdict(float)
    bad: Batch | None = None
    waited = 0.0
    for number in range(run.spec.accumulate):
        start = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - start
        torch.manual_seed(draw_seed(run.spec.seed, run.step * run.spec.accumulate + number))
        losses = forward_backward(run, batch, last=number == run.spec.accumulate - 1)
        for key, loss in losses.items():
            totals[key] += float(loss.detach()) / run.spec.accumulate
        if bad is None and not math.isfinite(totals["total_loss"]):
            bad = batch
    if dist.any_process(bad is not None, run.options.device):
        _skip_or_stop(run, bad, totals["total_loss"])
        _restore_statistics(run.model, before)
        totals.clear()
    else:
        _optimise(run)
    run.optimizer.zero_grad(set_to_none=True)
    apply_masks(run.model, run.masks)
    if run.ema is not None:
        run.ema.update(run.model)
    run.step += 1
    return totals, waited


def draw_seed(seed: int, position: int) -> int:
    """Of what a model draws in one round (branches that are left out), in this process.

    It depends on nothing that came before, so that a resumed run draws the same.
    """
    rng = np.random.default_rng([seed, 3, position, dist.rank()])
    return int(rng.integers(2**63))


def _optimise(run: Run) -> None:
    """Change the weights by their gradients; the scaler skips gradients that overflowed.

    Raises DivergedError where it did too often in a row.
    """
    scale = run.scaler.get_scale()
    if run.spec.clip_grad_norm:
        run.scaler.unscale_(run.optimizer)
        nn.utils.clip_grad_norm_(run.model.parameters(), run.spec.clip_grad_norm)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    if run.scaler.get_scale() >= scale:
        run.skipped_steps = 0
        return
    run.skipped_steps += 1
    if run.skipped_steps > MOST_SKIPPED:
        raise DivergedError(
            f"gradients are not finite at step {run.step}, nor in the {MOST_SKIPPED} steps before"
        )
    logger.warning(OVERFLOWED, run.step, "gradients", run.skipped_steps, run.scaler.get_scale())


def _statistics(model: nn.Module) -> list[Tensor]:
    """Copies of the batch norms' statistics, which the forward pass of a step changes."""
    return [buffer.clone() for buffer in model.buffers() if buffer.is_floating_point()]


def _restore_statistics(model: nn.Module, before: list[Tensor]) -> None:
    """Forget what an overflow has done to the batch norms' statistics."""
    own = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    for buffer, value in zip(own, before, strict=True):
        buffer.copy_(value)


def _skip_or_stop(run: Run, batch: Batch | None, loss: float) -> None:
    """What follows a loss that is NaN or infinite. batch: the one that has it, in this process.

    With a scaler the step is skipped and the scale halved, a few times in a row. Otherwise raises
    DivergedError, after the names of the batch's images were written down.
    """
    run.skipped_steps += 1
    if run.scaler.is_enabled() and run.skipped_steps <= MOST_SKIPPED:
        run.scaler.update(run.scaler.get_scale() * run.scaler.get_backoff_factor())
        logger.warning(OVERFLOWED, run.step, "loss", run.skipped_steps, run.scaler.get_scale())
        return
    if batch is None:
        raise DivergedError(f"loss is not finite at step {run.step} in another process")
    files = [str(run.dataset.images[index].path) for index in batch.indices.tolist()]
    record = run.folder / f"nonfinite_step_{run.step}_rank_{dist.rank()}.json"
    write_json(record, {"step": run.step, "loss": str(loss), "files": files}, indent=2)
    raise DivergedError(
        f"loss is {loss} at step {run.step}; the batch's files are named in {record}"
    )


def forward_backward(run: Run, batch: Batch, last: bool = True) -> dict[str, Tensor]:
    """Losses of one batch, their gradients added to the model's.

    last: the final round of the step, in which processes exchange gradients.
    """
    device, precision = run.options.device, run.options.precision
    images, targets = _to_size(
        batch.images.to(device, non_blocking=True).float(),
        batch.targets.to(device, non_blocking=True),
        input_size(run.step, run.spec.seed, run.sizes),
    )
    images = images.contiguous(memory_format=torch.channels_last)
    half = torch.float16 if run.scaler.is_enabled() else torch.bfloat16
    exchange: AbstractContextManager[None] = nullcontext()
    if not last and isinstance(run.parallel, DistributedDataParallel):
        exchange = run.parallel.no_sync()
    rounding = run.rounding.active() if run.rounding is not None else nullcontext()
    with exchange:
        with rounding, torch.autocast(device.type, half, enabled=precision != "fp32"):
            predictions = run.parallel(images)
            taught = run.distillation(images, predictions) if run.distillation else None
        losses = _all_losses(run, predictions, targets, taught)
        run.scaler.scale(losses["total_loss"] / run.spec.accumulate).backward()  # type: ignore[no-untyped-call]
    return losses


def _all_losses(
    run: Run, predictions: Any, targets: Tensor, taught: Tensor | None
) -> dict[str, Tensor]:
    """The terms by name and their weighted sum: labels, teacher, sparsity."""
    losses = (
        dict(run.criterion(predictions, targets, plain=run.is_plain))
        if run.spec.label_weight
        else {}
    )
    parts = [run.spec.label_weight * losses["total_loss"]] if losses else []
    if taught is not None:
        parts.append(taught)
        losses["distill_loss"] = taught
    if run.spec.bn_l1:
        losses["bn_l1_loss"] = run.spec.bn_l1 * bn_scales(run.model)
        parts.append(losses["bn_l1_loss"])
    return {**losses, "total_loss": torch.stack(parts).sum()}


def bn_scales(model: nn.Module) -> Tensor:
    """The sum of |scale| over all batch norms."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    return torch.stack([norm.weight.abs().sum() for norm in norms]).sum()


def _to_size(images: Tensor, targets: Tensor, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Resize a whole batch, boxes included, to the size of this step."""
    height, width = images.shape[-2:]
    if (height, width) == size_hw:
        return images, targets
    images = F.interpolate(images, size=size_hw, mode="bilinear", align_corners=False)
    scale_x, scale_y = size_hw[1] / width, size_hw[0] / height
    scale = targets.new_tensor([1, scale_x, scale_y, scale_x, scale_y])
    return images, targets * scale


def training_mode(run: Run) -> None:
    """Training mode, but for what stays frozen."""
    run.parallel.train()
    if run.spec.freeze_bn:
        for module in run.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def batches_of(run: Run, source: ResizedImages) -> Generator[Batch, None, None]:
    """Batches from the current step to the last one."""
    schedule = Schedule(
        batch=run.options.batch_size,
        rounds=run.spec.accumulate,
        rank=dist.rank(),
        world=dist.world_size(),
        first_plain=run.spec.first_plain_epoch * run.steps_per_epoch,
    )
    places = PlaceBatches(len(source), run.spec.seed, schedule, run.step, run.total_steps)
    samples = TrainSamples(source, run.exp.augment_spec(), run.spec.seed)
    pinned = run.options.device.type == "cuda"
    exp = run.exp
    return train_batches(samples, places, exp.data_num_workers, pinned, exp.data_timeout)
