"""Everything that lives through a training run, and how it is saved and taken up again."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from loguru import logger
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from yolox import dist
from yolox.config import AugmentSpec, DetectorSpec, EvalSpec, SizeSpec, TrainSpec, to_dict
from yolox.data.coco import CocoDataset
from yolox.engine import checkpoint
from yolox.engine.archive import DAMAGE
from yolox.engine.ema import ModelEMA
from yolox.engine.masks import apply_masks, check_masks
from yolox.engine.optim import make_optimizer
from yolox.engine.restore import (
    channels_of,
    cut_model,
    load_for_tuning,
    load_state,
    require_same_spec,
    require_sound_optimizer,
    restore,
    spec_of,
)
from yolox.errors import ModelError, UsageError
from yolox.files import file_hash
from yolox.losses import YoloxLoss
from yolox.losses.distillation import Distillation, DistillWeights
from yolox.models import Detector
from yolox.models.balance import balance_filters
from yolox.models.channels import relative_channels

PRECISIONS = ("fp32", "fp16", "bf16")


class Experiment(Protocol):
    """What the engine asks of an experiment (`yolox.exp.Exp` has it)."""

    exp_name: str
    output_dir: str
    data_num_workers: int

    def detector_spec(self) -> DetectorSpec: ...
    def train_spec(self) -> TrainSpec: ...
    def augment_spec(self) -> AugmentSpec: ...
    def size_spec(self) -> SizeSpec: ...
    def eval_spec(self) -> EvalSpec: ...
    def get_model(self) -> Detector: ...
    def get_criterion(self) -> YoloxLoss: ...
    def get_dataset(self) -> CocoDataset: ...
    def get_eval_dataset(self) -> CocoDataset: ...
    def options(self) -> dict[str, Any]: ...
    def origin(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class RunOptions:
    """How a training run is started. batch_size is that of all processes together.

    ckpt: where to start from (a fine-tune), or with `resume` what to continue. start_epoch counts
    from 1. Raises UsageError for values that cannot be.
    """

    batch_size: int = 64
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "fp32"
    resume: bool = False
    ckpt: str | None = None
    start_epoch: int | None = None
    cache: str | None = None
    logger: str = "tensorboard"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision {self.precision!r} is none of {', '.join(PRECISIONS)}")
        if self.batch_size < 1:
            raise UsageError(f"batch size {self.batch_size} is not positive")
        if self.start_epoch is not None and (not self.resume or self.start_epoch < 1):
            raise UsageError("--start_epoch counts from 1 and needs --resume")


@dataclass
class Run:
    """The state of a run. `step` counts optimiser steps from 0; `model` holds the raw weights."""

    exp: Experiment
    options: RunOptions
    spec: TrainSpec
    sizes: SizeSpec
    folder: Path
    dataset: CocoDataset
    eval_dataset: CocoDataset
    model: Detector
    parallel: nn.Module
    criterion: YoloxLoss
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    ema: ModelEMA | None
    masks: dict[str, Tensor]
    channels: dict[str, dict[str, list[int]]]  # of a pruned model, as its checkpoint states them
    steps_per_epoch: int
    distillation: Distillation | None = None
    parent: dict[str, str] | None = None  # path and hash of the checkpoint it started from
    step: int = 0
    best_ap: float = -1.0  # nothing evaluated yet
    curr_ap: float = 0.0
    evaluations_without_gain: int = 0

    @property
    def eval_model(self) -> nn.Module:
        """What is evaluated and shipped: the average where there is one."""
        return self.ema.model if self.ema is not None else self.model

    @property
    def is_done(self) -> bool:
        """Whether the last step was made."""
        return self.step >= self.spec.max_epoch * self.steps_per_epoch

    @property
    def epoch(self) -> int:
        """The epoch (from 0) that `step` belongs to."""
        return self.step // self.steps_per_epoch


def prepare(exp: Experiment, options: RunOptions) -> Run:
    """Build everything, load what there is to load. Raises UsageError, DataError or ModelError."""
    spec, sizes = exp.train_spec(), exp.size_spec()
    world, rounds = dist.world_size(), spec.accumulate
    if options.batch_size % (world * rounds):
        raise UsageError(
            f"batch size {options.batch_size} is not a multiple of {world} processes "
            f"x {rounds} accumulation steps"
        )
    dataset, eval_dataset = exp.get_dataset(), exp.get_eval_dataset()
    torch.manual_seed(spec.seed)
    device = options.device
    content = _starting_point(exp, options)
    channels = channels_of(content, options.ckpt or "latest_ckpt.pth")
    model = cut_model(exp.get_model(), channels, options.ckpt or "latest_ckpt.pth")
    masks = _load_weights(model, content, exp, options)
    if spec.balance_filters and not options.resume:
        model = balance_filters(model)
    model = model.to(device)
    ema = ModelEMA(model, spec.ema_decay, spec.ema_warmup) if spec.ema else None
    parallel: nn.Module = model
    if world > 1:
        ids = [device.index] if device.type == "cuda" else None
        parallel = DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)
    criterion = exp.get_criterion()
    criterion.mean_over_processes = dist.mean_over_processes
    scaled = options.precision == "fp16" and device.type == "cuda"
    run = Run(
        exp=exp, options=options, spec=spec, sizes=sizes,
        folder=Path(exp.output_dir) / exp.exp_name,
        dataset=dataset, eval_dataset=eval_dataset, model=model, parallel=parallel,
        criterion=criterion, optimizer=make_optimizer(model, spec),
        scaler=torch.amp.GradScaler(device.type, enabled=scaled), ema=ema,
        masks={name: mask.to(device) for name, mask in masks.items()}, channels=channels,
        steps_per_epoch=max(-(-len(dataset) // options.batch_size), 1),
        parent={"path": options.ckpt, "sha256": file_hash(options.ckpt)} if options.ckpt else None,
    )  # fmt: skip
    if options.resume:
        try:
            _take_up(run, content)
        except DAMAGE as error:
            raise ModelError(f"the training state cannot be taken up: {error!r}") from error
    for owner in (model, run.eval_model):
        apply_masks(owner, run.masks)
    run.distillation = _distillation(run)
    return run


def _distillation(run: Run) -> Distillation | None:
    """What compares the model with its teacher, where the experiment names one."""
    spec, detector = run.spec, run.exp.detector_spec()
    if spec.teacher is None:
        return None
    restored = restore(spec.teacher, detector)
    try:
        relative = relative_channels(restored.channels, run.channels)
    except ModelError as error:
        if spec.distill_features:
            raise UsageError(
                f"teacher {spec.teacher} is pruned otherwise than the model ({error}): it can teach"
                " its outputs only (distill_features 0)"
            ) from error
        relative = {}
    kept = {name: sides["in"] for name, sides in relative.items() if "in" in sides}
    logger.info("teacher: {}", spec.teacher)
    weights = DistillWeights(spec.distill_outputs, spec.distill_features)
    teacher = restored.model.to(run.options.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Distillation(teacher, run.model, detector.strides, weights, kept)


def _starting_point(exp: Experiment, options: RunOptions) -> dict[str, Any]:
    """The checkpoint to start from, or an empty one."""
    if options.resume:
        latest = Path(exp.output_dir) / exp.exp_name / "latest_ckpt.pth"
        return checkpoint.read(options.ckpt or latest)
    return checkpoint.read(options.ckpt) if options.ckpt else {}


def _load_weights(
    model: Detector, content: dict[str, Any], exp: Experiment, options: RunOptions
) -> dict[str, Tensor]:
    """Put the checkpoint's weights into the model; returns its masks."""
    if not content:
        return {}
    path = options.ckpt or "latest_ckpt.pth"
    stated = spec_of(content, path)
    if stated is not None:
        expected = exp.detector_spec()
        same_classes = DetectorSpec(**{**vars(stated), "num_classes": expected.num_classes})
        require_same_spec(stated if options.resume else same_classes, expected, path)
    fresh = load_for_tuning(model, content, path)
    if options.resume and fresh:
        raise ModelError(
            f"checkpoint {path}: another number of classes cannot be resumed (use -c alone)"
        )
    masks: dict[str, Tensor] = content.get("masks", {})
    check_masks(masks, model, f"checkpoint {path}")
    if masks:
        kept = sum(int(mask.sum()) for mask in masks.values())
        total = sum(mask.numel() for mask in masks.values())
        logger.info("masks of {} tensors stay on: {} of {} weights kept", len(masks), kept, total)
    logger.info("weights of {}", path)
    return masks


def _take_up(run: Run, content: dict[str, Any]) -> None:
    """Continue a run: ours exactly, an official YOLOX checkpoint as YOLOX does."""
    run.best_ap = float(content.get("best_ap", 0.0))
    run.curr_ap = float(content.get("curr_ap") or 0.0)
    start_epoch = int(content.get("start_epoch", 0))
    if run.options.start_epoch is not None:
        start_epoch = run.options.start_epoch - 1
    run.step = start_epoch * run.steps_per_epoch
    state = content.get("state")
    made_by = state["optimizer_name"] if state else "sgd"
    if made_by != run.spec.optimizer:
        raise ModelError(f"the checkpoint was trained with {made_by}, not {run.spec.optimizer}")
    if "optimizer" in content:
        try:
            run.optimizer.load_state_dict(content["optimizer"])
        except ValueError as error:
            raise ModelError(f"the optimiser state does not fit: {error}") from error
        require_sound_optimizer(run.optimizer, "the checkpoint")
    if state is None:
        if run.ema is not None:
            run.ema.updates = run.step
        logger.info("no raw weights in the checkpoint: training goes on from the averaged ones")
    else:
        load_state(run.model, state["raw_model"], "the checkpoint's raw model")
        if run.ema is not None:
            run.ema.updates = int(state["ema_updates"])
        if state["scaler"] and run.scaler.is_enabled():
            run.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["rng"])
        run.best_ap = float(state["best_ap"])
        run.evaluations_without_gain = int(state["evaluations_without_gain"])
        same_pace = state["steps_per_epoch"] == run.steps_per_epoch
        if same_pace and run.options.start_epoch is None:
            run.step = int(state["step"])
    logger.info("resumed at epoch {}, step {}", run.epoch + 1, run.step % run.steps_per_epoch + 1)


def contents(run: Run) -> dict[str, Any]:
    """The checkpoint of this moment, to be saved by rank 0."""
    return {
        "start_epoch": run.epoch,
        "model": run.eval_model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "best_ap": max(run.best_ap, 0.0),
        "curr_ap": run.curr_ap,
        "spec": to_dict(run.exp.detector_spec()),
        "channels": run.channels,
        "class_names": list(run.dataset.class_names),
        "category_ids": list(run.dataset.category_ids),
        "exp": run.exp.origin(),
        "masks": {name: mask.cpu() for name, mask in run.masks.items()},
        "state": {
            "raw_model": run.model.state_dict(),
            "ema_updates": run.ema.updates if run.ema is not None else 0,
            "scaler": run.scaler.state_dict(),
            "rng": torch.get_rng_state(),
            "step": run.step,
            "steps_per_epoch": run.steps_per_epoch,
            "best_ap": run.best_ap,
            "optimizer_name": run.spec.optimizer,
            "evaluations_without_gain": run.evaluations_without_gain,
        },
    }
