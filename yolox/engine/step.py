"""One optimiser step: losses, gradients, what to do where they overflow."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from loguru import logger
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from yolox import dist
from yolox.data.batch import Batch
from yolox.engine.finite import DivergedError, check_losses, first_bad_loss
from yolox.engine.masks import apply_masks
from yolox.engine.schedule import input_size, learning_rate
from yolox.engine.state import Run, Unchecked

MOST_SKIPPED = 20  # steps in a row: the scale starts at 2^16, and each of them halves it
OVERFLOWED = "step {} is skipped, its {} overflowed ({} in a row): the scale is {:g} now"


def train_step(run: Run, batches: Iterator[Batch]) -> tuple[dict[str, Tensor], float]:
    """One optimiser step over all rounds; its losses and the seconds waited for data.

    The losses stay on the device, unread: `check_losses` finds later whether they were finite. A
    step whose gradients overflow in fp16 changes nothing but the scaler and has no losses. Raises
    DivergedError where too many do so in a row.
    """
    peak = run.spec.basic_lr_per_img * run.options.batch_size
    rate = learning_rate(run.step, run.steps_per_epoch, peak, run.spec) * run.lr_scale
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    before = _statistics(run.model) if run.scaler.is_enabled() else []
    totals: dict[str, Tensor] = {}
    waited = 0.0
    for number in range(run.spec.accumulate):
        start = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - start
        torch.manual_seed(draw_seed(run.spec.seed, run.step * run.spec.accumulate + number))
        losses = forward_backward(run, batch, last=number == run.spec.accumulate - 1)
        images = tuple(batch.indices.tolist())
        run.unchecked.append(Unchecked(run.step, images, losses["total_loss"].detach()))
        for key, loss in losses.items():
            share = loss.detach() / run.spec.accumulate
            totals[key] = totals[key] + share if key in totals else share
    if not _optimise(run):
        _restore_statistics(run.model, before)
        totals.clear()
    run.optimizer.zero_grad(set_to_none=True)
    apply_masks(run.model, run.masks)
    if run.ema is not None:
        run.ema.update()
    run.step += 1
    return totals, waited


def draw_seed(seed: int, position: int) -> int:
    """Of what a model draws in one round (branches that are left out), in this process.

    It depends on nothing that came before, so that a resumed run draws the same.
    """
    rng = np.random.default_rng([seed, 3, position, dist.rank()])
    return int(rng.integers(2**63))


def _optimise(run: Run) -> bool:
    """Change the weights by their gradients; whether it was done.

    The scaler leaves a step out whose gradients overflowed, and halves its scale. Raises
    DivergedError where it did too often in a row.
    """
    before = run.scaler.get_scale() if run.loss_scale is None else run.loss_scale
    if run.spec.clip_grad_norm:
        run.scaler.unscale_(run.optimizer)
        nn.utils.clip_grad_norm_(run.model.parameters(), run.spec.clip_grad_norm)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.loss_scale = run.scaler.get_scale()
    if run.loss_scale >= before:
        run.skipped_steps = 0
        return True
    run.skipped_steps += 1
    if run.skipped_steps > MOST_SKIPPED:
        check_losses(run)
        raise DivergedError(
            f"gradients are not finite at step {run.step}, nor in the {MOST_SKIPPED} steps before"
        )
    own = slice(-run.spec.accumulate, None)  # the losses of this step
    what = (
        "loss" if dist.any_process(first_bad_loss(run.unchecked[own]) is not None) else "gradients"
    )
    del run.unchecked[own]
    logger.warning(OVERFLOWED, run.step, what, run.skipped_steps, run.loss_scale)
    return False


def _statistics(model: nn.Module) -> list[Tensor]:
    """Copies of the batch norms' statistics, which the forward pass of a step changes."""
    return [buffer.clone() for buffer in model.buffers() if buffer.is_floating_point()]


def _restore_statistics(model: nn.Module, before: list[Tensor]) -> None:
    """Forget what an overflow has done to the batch norms' statistics."""
    own = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    for buffer, value in zip(own, before, strict=True):
        buffer.copy_(value)


def forward_backward(run: Run, batch: Batch, last: bool = True) -> dict[str, Tensor]:
    """Losses of one batch, their gradients added to the model's.

    last: the final round of the step, in which processes exchange gradients.
    """
    device, precision = run.options.device, run.options.precision
    images, targets = _to_size(
        batch.images.to(torch.float32, memory_format=torch.channels_last),
        batch.targets,
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
            predictions = run.forward(images)
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
    targets = targets.clone()
    targets[..., 1::2] *= size_hw[1] / width
    targets[..., 2::2] *= size_hw[0] / height
    return images, targets
