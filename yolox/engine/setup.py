"""Build everything that a run needs, and load what there is to load."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from yolox import dist
from yolox.allocator import keep_freed_memory
from yolox.data.class_order import require_same_order, require_same_split
from yolox.data.dataset import DetectionDataset
from yolox.engine import checkpoint
from yolox.engine.ema import ModelEMA
from yolox.engine.masks import apply_masks, check_masks
from yolox.engine.optim import make_optimizer
from yolox.engine.pretrained import load_pretrained
from yolox.engine.provenance import data_fingerprint, file_record
from yolox.engine.restart import job_name
from yolox.engine.restore import (
    channels_of,
    cut_model,
    load_for_tuning,
    require_same_spec,
    restore,
    spec_of,
)
from yolox.engine.saving import latest_path, read_latest, take_up
from yolox.engine.state import Experiment, Run, RunOptions
from yolox.errors import ModelError, UsageError
from yolox.families import Detector, build
from yolox.files import file_hash
from yolox.losses.distillation import Distillation, DistillWeights
from yolox.models.balance import balance_filters
from yolox.models.channels import relative_channels
from yolox.models.fake_int8 import FakeInt8
from yolox.models.fuse import fuse


def prepare(exp: Experiment, options: RunOptions) -> Run:
    """Build everything, load what there is to load. Raises UsageError, DataError or ModelError.

    The model is in training mode then, and stays so: copies of it are evaluated.
    """
    if options.device.type == "cpu":
        keep_freed_memory()
    spec, sizes = exp.train_spec(), exp.size_spec()
    world, rounds = dist.world_size(), spec.accumulate
    if options.batch_size % (world * rounds):
        raise UsageError(
            f"batch size {options.batch_size} is not a multiple of {world} processes "
            f"x {rounds} accumulation steps"
        )
    dataset, eval_dataset = exp.get_dataset(), exp.get_eval_dataset()
    select_dataset = exp.get_select_dataset()
    for other in (eval_dataset, select_dataset):
        if other is not None:
            require_same_split(dataset, other)
    torch.manual_seed(spec.seed)
    device = options.device
    path, content = _starting_point(exp, options)
    require_same_order(content.get("class_names"), dataset, f"checkpoint {path}")
    channels = channels_of(content, path)
    model = cut_model(build(exp.detector_spec()), channels, path)
    masks = _load_weights(model, content, exp, (path, options.resume))
    if spec.balance_filters and not options.resume:
        model = balance_filters(model)
    model = model.to(device)
    criterion = exp.get_criterion()
    criterion.mean_over_processes = dist.mean_over_processes
    scaled = options.precision == "fp16" and device.type == "cuda"
    scaler = torch.amp.GradScaler(device.type, enabled=scaled)
    parallel = _parallel(model, device)
    run = Run(
        exp=exp,
        options=options,
        spec=spec,
        sizes=sizes,
        folder=Path(exp.output_dir) / exp.exp_name,
        dataset=dataset,
        eval_dataset=eval_dataset,
        select_dataset=select_dataset,
        model=model,
        parallel=parallel,
        forward=torch.compile(parallel) if spec.compiled else parallel,
        criterion=criterion,
        optimizer=make_optimizer(model, spec, scaler.is_enabled()),
        scaler=scaler,
        ema=ModelEMA(model, spec.ema_decay, spec.ema_warmup) if spec.ema else None,
        masks={name: mask.to(device) for name, mask in masks.items()},
        channels=channels,
        steps_per_epoch=max(-(-len(dataset) // options.batch_size), 1),
        file_hashes={},
        fingerprints={},
        parent=file_record(options.ckpt) if options.ckpt else None,
        job=job_name(),
        latest_is_ours=options.continues_folder and path.name == latest_path(Path()).name,
    )
    for role, used in _datasets(run).items():  # now, for they may be gone when the run has ended
        run.file_hashes[str(used.json_path)] = file_hash(used.json_path)
        run.fingerprints[role] = data_fingerprint(used)
    if options.resume:
        take_up(run, content)
    for owner in (model, run.eval_model):
        apply_masks(owner, run.masks)
    run.distillation = _distillation(run)
    run.rounding = FakeInt8(model) if spec.fake_int8 else None
    _training_mode(run)
    return run


def _training_mode(run: Run) -> None:
    """Training mode, but for what stays frozen."""
    run.parallel.train()
    if run.spec.freeze_bn:
        for module in run.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def _datasets(run: Run) -> dict[str, DetectionDataset]:
    """The data sets of a run by their role."""
    found = {
        "training": run.dataset,
        "validation": run.eval_dataset,
        "choosing": run.select_dataset,
    }
    return {role: dataset for role, dataset in found.items() if dataset is not None}


def _parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """What the forward pass calls: with several processes, it exchanges gradients."""
    if dist.world_size() == 1:
        return model
    ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)


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
    weights = DistillWeights(spec.distill_outputs, spec.distill_features, spec.distill_layers)
    fused = fuse(restored.model)  # a quarter less time, and the same answers
    teacher = fused.to(run.options.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Distillation(teacher, run.model, run.criterion.distance, weights, kept)


def _starting_point(exp: Experiment, options: RunOptions) -> tuple[Path, dict[str, Any]]:
    """The checkpoint to start from, with its path; an empty one for random weights."""
    if options.ckpt is not None:
        return Path(options.ckpt), checkpoint.read(options.ckpt)
    if options.resume:
        return read_latest(Path(exp.output_dir) / exp.exp_name)
    return Path("random weights"), {}


def _load_weights(
    model: Detector, content: dict[str, Any], exp: Experiment, source: tuple[Path, bool]
) -> dict[str, Tensor]:
    """Put the checkpoint's weights into the model; returns its masks.

    source: the checkpoint's path, and whether it is resumed.
    """
    if not content:
        load_pretrained(model, exp.train_spec().pretrained_backbone)
        return {}
    path, resumed = source
    expected = exp.detector_spec()
    stated = spec_of(content, path, expected)
    partial = exp.train_spec().partial_ckpt and not resumed
    if stated is not None and not partial:
        same_classes = replace(stated, num_classes=expected.num_classes)
        require_same_spec(stated if resumed else same_classes, expected, path)
    fresh = load_for_tuning(model, content, path, partial)
    if resumed and fresh:
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
