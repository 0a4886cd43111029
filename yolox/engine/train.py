"""The training loop. It reads from top to bottom: set up, step, end of epoch, interruption."""

import math
import shutil
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import cv2
import torch
import torch.nn.functional as F
from loguru import logger
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from yolox import dist
from yolox.backends import ModelInfo, TorchBackend
from yolox.data.batch import Batch, PlaceBatches, Schedule, TrainSamples, train_batches
from yolox.data.cache import ResizedImages
from yolox.data.coco import size_warning
from yolox.data.problems import summary
from yolox.engine import checkpoint
from yolox.engine.log import Curves, Meter, duration, make_curves, peak_memory_mb, set_up_log
from yolox.engine.manifest import write_manifest
from yolox.engine.masks import apply_masks
from yolox.engine.schedule import input_size, learning_rate
from yolox.engine.state import Experiment, Run, RunOptions, contents, prepare
from yolox.errors import YoloxError
from yolox.eval.evaluate import evaluate
from yolox.eval.predict import PredictOptions
from yolox.eval.report import class_table, latency_line, metrics_table
from yolox.files import whole_file, write_json
from yolox.models import Predictions
from yolox.models.complexity import complexity, describe
from yolox.models.fuse import fuse

LOSSES = ("total_loss", "iou_loss", "conf_loss", "cls_loss", "l1_loss", "num_fg")
EXTRA = ("distill_loss", "bn_l1_loss")  # where the experiment asks for them


@dataclass(frozen=True)
class TrainResult:
    """The best and the last AP (fractions), and where the checkpoints are."""

    best_ap: float
    last_ap: float
    folder: Path


def train(exp: Experiment, options: RunOptions) -> TrainResult:
    """Train an experiment to its end and return what it reached.

    Raises YoloxError when interrupted (after saving `latest_ckpt.pth`) or when the loss stops
    being finite (after saving the names of the batch's files).
    """
    cv2.setNumThreads(0)  # threads of OpenCV do not survive the fork into loader processes
    set_up_log(Path(exp.output_dir) / exp.exp_name / "train_log.txt")
    run = prepare(exp, options)
    _log_start(run)
    kept = closing(make_curves(options.logger, run.folder, exp.exp_name, exp.options()))
    meter, clock = Meter(), time.perf_counter()
    with kept as curves, _stop_signals() as stop, _progress(run) as bar:
        batches = _batches(run)
        while not run.is_done:
            losses, waited = _train_step(run, batches)
            now = time.perf_counter()
            meter.add(iteration=now - clock, data=waited, **losses)
            clock = now
            bar.update()
            _report_step(run, meter, curves)
            if run.step % run.steps_per_epoch == 0:
                if _end_of_epoch(run, curves):
                    break
                clock = time.perf_counter()
            elif run.spec.save_interval and run.step % run.spec.save_interval == 0:
                _save_within_epoch(run)
            if dist.any_process(stop.is_set, options.device) and not run.is_done:
                _save_within_epoch(run)
                dist.barrier()  # nobody leaves, and so ends the job, before rank 0 has saved
                raise YoloxError(f"interrupted after step {run.step}; continue with --resume")
    if dist.rank() == 0:
        write_manifest(run, finished=True)
        logger.info("done: best AP {:.4f}, checkpoints in {}", run.best_ap, run.folder)
    return TrainResult(run.best_ap, run.curr_ap, run.folder)


def _train_step(run: Run, batches: Iterator[Batch]) -> tuple[dict[str, float], float]:
    """One optimiser step over all rounds; its losses and the seconds waited for data."""
    rate = learning_rate(
        run.step, run.steps_per_epoch, run.spec.basic_lr_per_img * run.options.batch_size, run.spec
    )
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    _training_mode(run)
    rounds = run.spec.accumulate
    totals: dict[str, float] = defaultdict(float)
    waited = 0.0
    for number in range(rounds):
        start = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - start
        losses = forward_backward(run, batch, last=number == rounds - 1)
        for key, loss in losses.items():
            totals[key] += float(loss.detach()) / rounds
        _require_finite(run, batch, totals["total_loss"])
    if run.spec.clip_grad_norm:
        run.scaler.unscale_(run.optimizer)
        nn.utils.clip_grad_norm_(run.model.parameters(), run.spec.clip_grad_norm)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.optimizer.zero_grad(set_to_none=True)
    apply_masks(run.model, run.masks)
    if run.ema is not None:
        run.ema.update(run.model)
    run.step += 1
    return totals, waited


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
    with exchange:
        with torch.autocast(device.type, half, enabled=precision != "fp32"):
            predictions = run.parallel(images)
            taught = run.distillation(images, predictions) if run.distillation else None
        losses = _all_losses(run, predictions, targets, taught)
        run.scaler.scale(losses["total_loss"] / run.spec.accumulate).backward()  # type: ignore[no-untyped-call]
    return losses


def _all_losses(
    run: Run, predictions: Predictions, targets: Tensor, taught: Tensor | None
) -> dict[str, Tensor]:
    """The terms by name and their weighted sum: labels, teacher, sparsity."""
    losses = run.criterion(predictions, targets) if run.spec.label_weight else {}
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


def _training_mode(run: Run) -> None:
    run.parallel.train()
    if run.spec.freeze_bn:
        for module in run.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    run.criterion.use_l1 = run.epoch >= run.spec.first_plain_epoch


def _batches(run: Run) -> Iterator[Batch]:
    """Batches from the current step to the last one."""
    source = ResizedImages(run.dataset, run.sizes.input_size, run.options.cache)
    schedule = Schedule(
        batch=run.options.batch_size,
        rounds=run.spec.accumulate,
        rank=dist.rank(),
        world=dist.world_size(),
        first_plain=run.spec.first_plain_epoch * run.steps_per_epoch,
    )
    last = run.spec.max_epoch * run.steps_per_epoch
    places = PlaceBatches(len(source), run.spec.seed, schedule, run.step, last)
    samples = TrainSamples(source, run.exp.augment_spec(), run.spec.seed)
    return train_batches(
        samples, places, run.exp.data_num_workers, run.options.device.type == "cuda"
    )


def _require_finite(run: Run, batch: Batch, loss: float) -> None:
    """Stop where the loss is NaN or infinite; the images that caused it are recorded."""
    if math.isfinite(loss):
        return
    files = [str(run.dataset.images[index].path) for index in batch.indices.tolist()]
    record = run.folder / f"nonfinite_step_{run.step}_rank_{dist.rank()}.json"
    write_json(record, {"step": run.step, "loss": str(loss), "files": files}, indent=2)
    raise YoloxError(f"loss is {loss} at step {run.step}; the batch's files are named in {record}")


def _end_of_epoch(run: Run, curves: Curves) -> bool:
    """Evaluate when due, save; whether training stops early."""
    epoch = run.epoch  # epochs done
    _average_statistics(run)
    plain = epoch > run.spec.first_plain_epoch
    due = plain or epoch % run.spec.eval_interval == 0 or epoch == run.spec.max_epoch
    if not due:
        _save(run, "latest")
        return False
    improved = _evaluate(run, curves)
    _save(run, "latest", "last_epoch", *(["best"] if improved else []))
    if run.spec.save_history_ckpt and dist.rank() == 0:
        _copy(run, "latest", f"epoch_{epoch}")
    if run.spec.patience and run.evaluations_without_gain >= run.spec.patience:
        logger.info("no gain in {} evaluations: stopped early", run.evaluations_without_gain)
        return True
    return False


def _evaluate(run: Run, curves: Curves) -> bool:
    """Evaluate the averaged model on all processes; whether its AP is the best so far."""
    batch = max(run.options.batch_size // dist.world_size(), 1)
    options = PredictOptions(
        run.exp.eval_spec(),
        workers=run.exp.data_num_workers,
        progress=dist.rank() == 0,
    )
    detector = run.exp.detector_spec()
    info = ModelInfo(detector.num_classes, detector.strides)
    model = TorchBackend(fuse(run.eval_model), info, run.options.device)
    found = evaluate(model, run.eval_dataset, run.sizes.test_size, batch, options)
    ap = dist.gather_objects(found.metrics.AP if found else 0.0)[0]
    run.curr_ap = 0.0 if math.isnan(ap) else ap
    improved = run.curr_ap > run.best_ap
    run.best_ap = max(run.best_ap, run.curr_ap)
    run.evaluations_without_gain = 0 if improved else run.evaluations_without_gain + 1
    if found is not None:
        logger.info("epoch {}: evaluation\n{}", run.epoch, metrics_table(found.metrics))
        logger.info("per class\n{}", class_table(found.metrics))
        logger.info(latency_line(found.latency_ms, batch, str(run.options.device)))
        curves.add({"val/AP": run.curr_ap, "val/AP50": found.metrics.AP50}, run.step)
    return improved


def _average_statistics(run: Run) -> None:
    """Batch-norm statistics become their mean over processes, so that none is preferred."""
    dist.average_buffers(run.model)
    if run.ema is not None:
        dist.average_buffers(run.ema.model)


def _save_within_epoch(run: Run) -> None:
    _average_statistics(run)
    _save(run, "latest")


def _save(run: Run, *names: str) -> None:
    """Write the checkpoint of this moment once, and copy it to the other names."""
    if dist.rank() != 0:
        return
    first, *others = names
    checkpoint.save(run.folder / f"{first}_ckpt.pth", contents(run))
    for name in others:
        _copy(run, first, name)


def _copy(run: Run, source: str, target: str) -> None:
    with whole_file(run.folder / f"{target}_ckpt.pth") as work:
        shutil.copyfile(run.folder / f"{source}_ckpt.pth", work)


def _report_step(run: Run, meter: Meter, curves: Curves) -> None:
    within = (run.step - 1) % run.steps_per_epoch + 1
    if within % run.spec.print_interval and within != run.steps_per_epoch:
        return
    height, width = input_size(run.step - 1, run.spec.seed, run.sizes)
    rate = run.optimizer.param_groups[0]["lr"]
    left = run.spec.max_epoch * run.steps_per_epoch - run.step
    names = [key for key in (*LOSSES, *EXTRA) if key in meter]
    losses = ", ".join(f"{k.removesuffix('_loss')} {meter.mean(k):.3f}" for k in names)
    logger.info(
        "epoch {}/{}, step {}/{}: {}, lr {:.2e}, {}x{}, "
        "{:.3f} s/step (data {:.3f}), {:.0f} MB, ETA {}",
        (run.step - 1) // run.steps_per_epoch + 1, run.spec.max_epoch, within, run.steps_per_epoch,
        losses, rate, height, width, meter.mean("iteration"), meter.mean("data"),
        peak_memory_mb(run.options.device), duration(left * meter.mean("iteration")),
    )  # fmt: skip
    curves.add({f"train/{k}": meter.mean(k) for k in names} | {"train/lr": rate}, run.step)


def _log_start(run: Run) -> None:
    if dist.rank() != 0:
        return
    device, precision = run.options.device, run.options.precision
    if precision == "fp16" and not run.scaler.is_enabled():
        logger.info("--fp16 on {}: bf16 autocast, no scaler", device.type)
    logger.info("device {}, {} process(es), {}", device, dist.world_size(), precision)
    test_size = run.sizes.test_size
    logger.info("model: {}", describe(complexity(run.model, test_size), test_size))
    for dataset in (run.dataset, run.eval_dataset):
        boxes = sum(len(dataset.targets(index)[0]) for index in range(len(dataset)))
        logger.info("{}: {} images, {} boxes", dataset.json_path, len(dataset), boxes)
        for line in (*summary(dataset.problems), size_warning(dataset)):
            if line is not None:
                logger.warning("{}", line)
    options = "\n".join(f"  {key}: {value}" for key, value in sorted(run.exp.options().items()))
    logger.info("options\n{}", options)
    write_manifest(run, finished=False)


@contextmanager
def _progress(run: Run) -> Iterator[tqdm]:  # type: ignore[type-arg]
    total = run.spec.max_epoch * run.steps_per_epoch
    shown = sys.stderr.isatty() and dist.rank() == 0
    with tqdm(total=total, initial=run.step, desc="training", disable=not shown) as bar:
        yield bar


class _Stop:
    """Set by SIGINT or SIGTERM: the loop saves and ends after the step it is in."""

    is_set = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.is_set = True


@contextmanager
def _stop_signals() -> Iterator[_Stop]:
    stop = _Stop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
