"""What a stage of compression made of the model: accuracy, size and speed, all measured here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from torch import nn

from yolox.backends import Backend, ModelInfo, TorchBackend
from yolox.engine import checkpoint
from yolox.errors import UsageError
from yolox.eval.bootstrap import Interval, ap_interval
from yolox.eval.coco_ap import ground_truth
from yolox.eval.evaluate import evaluate, without_nan
from yolox.eval.latency import latency_ms, random_images
from yolox.eval.predict import PredictOptions
from yolox.exp import Exp
from yolox.export.open import Runtime, describe, open_module
from yolox.models.complexity import complexity
from yolox.models.fuse import fuse

BATCHES = (1, 8)
ROUNDS = {1: 20, 8: 6}


@dataclass
class Stage:
    """One row of the report. AP and AP50 are fractions, None where nothing was evaluated.

    AP_low, AP_high: 95 % interval of AP over images (bootstrap).
    params, nonzero_params and macs are those of the model as it is deployed: batch norm fused.
    file_bytes: weights and masks alone, without training state.
    latency_ms: milliseconds at batch 1 by backend; latency_ms_batch8: per batch of 8. Backends
        other than torch, and batch 8, are measured for the first and the last stage only.
    """

    name: str
    AP: float | None
    AP50: float | None
    params: int
    nonzero_params: int
    macs: float
    file_bytes: int
    AP_low: float | None = None
    AP_high: float | None = None
    latency_ms: dict[str, float] = field(default_factory=dict)
    latency_ms_batch8: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The row of `report.json`."""
        cleaned: dict[str, Any] = without_nan(vars(self))
        return cleaned


@dataclass(frozen=True)
class Measuring:
    """On which device and with which backends, whether AP is measured, and with how many resamples
    its interval (0: none).
    """

    device: torch.device
    backends: Sequence[str] = ("torch",)
    evaluated: bool = True
    resamples: int = 200


def measure_stages(paths: Mapping[str, Path], exp: Exp, how: Measuring) -> list[Stage]:
    """Measure the checkpoint of each stage. Latency is taken in turns, so its ratios are fair."""
    stages: list[Stage] = []
    models: dict[str, tuple[nn.Module, ModelInfo]] = {}
    for name, path in paths.items():
        restored = checkpoint.restore(path, exp.detector_spec())
        model, info = fuse(restored.model), describe(restored)
        size = complexity(model, exp.test_size)
        models[name] = (model, info)
        stored = checkpoint.weights_bytes(path)
        stage = Stage(name, None, None, size.params, size.nonzero, size.macs, stored)
        if how.evaluated:
            _measure_accuracy(stage, TorchBackend(model, info, how.device), exp, how.resamples)
        stages.append(stage)
    for backend in how.backends:
        _measure_latency(stages, models, backend, exp.test_size, how.device)
    return stages


def _measure_accuracy(stage: Stage, backend: Backend, exp: Exp, resamples: int) -> None:
    options = PredictOptions(exp.eval_spec(), workers=exp.data_num_workers)
    dataset = exp.get_eval_dataset()
    found = evaluate(backend, dataset, exp.test_size, 16, options)
    assert found is not None  # a single process is rank 0
    stage.AP, stage.AP50 = found.metrics.AP, found.metrics.AP50
    if resamples:
        interval: Interval = ap_interval(ground_truth(dataset), found.results, resamples)
        stage.AP_low, stage.AP_high = interval.low, interval.high


def _measure_latency(
    stages: Sequence[Stage],
    models: Mapping[str, tuple[nn.Module, ModelInfo]],
    backend: str,
    size_hw: tuple[int, int],
    device: torch.device,
) -> None:
    """All stages at batch 1 in torch, else the first and the last one."""
    ends = [stages[0], stages[-1]]
    chosen = list(stages) if backend == "torch" else ends
    try:
        runtime = Runtime(backend, device=device)
        opened = {s.name: open_module(*models[s.name], runtime, size_hw) for s in chosen}
    except UsageError as error:
        logger.warning("not measured: {}", error)
        return
    for batch in BATCHES:
        rows = chosen if batch == 1 else ends
        turns = {stage.name: opened[stage.name] for stage in rows}
        speeds = latency_ms(turns, random_images(batch, size_hw), ROUNDS[batch])
        for stage in rows:
            of = stage.latency_ms if batch == 1 else stage.latency_ms_batch8
            of[backend] = speeds[stage.name]
