"""What a stage of compression made of the model: accuracy, size and speed, all measured here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from yolox.backends import Backend, TorchBackend
from yolox.compress.report.speed import measure_speed
from yolox.compress.workspace import CONTROL, DENSE
from yolox.config import from_dict
from yolox.engine import checkpoint
from yolox.engine.restore import restore_content
from yolox.errors import UsageError
from yolox.eval.coco_ap import ground_truth
from yolox.eval.evaluate import evaluate_alone, without_nan
from yolox.eval.intervals import ap_interval, paired_difference
from yolox.eval.matches import ImageMatches, match
from yolox.exp import BaseExp
from yolox.export.open import model_info
from yolox.models.complexity import complexity
from yolox.models.fuse import fuse
from yolox.values import shown


@dataclass
class Stage:
    """One row of the report. AP and AP50 are fractions, None where nothing was evaluated.

    AP_low, AP_high: 95 % interval of AP on any number of such images; AP may lie outside.
    AP_differences: this AP less that of another stage, on the same images, by that stage's name:
        `value`, and `low` and `high` of its 95 % interval. Others are the dense model, the control
        and the stage before.
    params, nonzero_params and macs are those of the model as it is deployed: batch norm fused.
    file_bytes: weights and masks alone, without training state.
    latency_ms: milliseconds at batch 1 by backend; latency_ms_batch8: per batch of 8. Backends
        other than torch, and batch 8, are measured for the first and the last stage only.
    peak_mb: MiB at most in memory of the process that runs batch 1, by backend; Python and the
        runtime are part of it.
    note: what was kept of several models, in words.
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
    AP_differences: dict[str, dict[str, float | None]] = field(default_factory=dict)
    latency_ms: dict[str, float] = field(default_factory=dict)
    latency_ms_batch8: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)
    note: str = ""

    @classmethod
    def from_json(cls, row: Any, where: str) -> "Stage":
        """A row of `report.json`. Raises UsageError naming `where` and the key."""
        if not isinstance(row, dict):
            raise UsageError(f"{where} {shown(row)} is no row of a table")
        stage: Stage = from_dict(cls, row, where)
        for key in ("params", "nonzero_params", "macs", "file_bytes"):
            if getattr(stage, key) <= 0:
                raise UsageError(f"{where}: {key} {shown(getattr(stage, key))} is not above 0")
        for name, found in stage.AP_differences.items():
            if missing := {"value", "low", "high"} - found.keys():
                raise UsageError(f"{where}: AP_differences.{name} has no {min(missing)}")
        return stage

    def as_json(self) -> dict[str, Any]:
        """The row of `report.json`."""
        cleaned: dict[str, Any] = without_nan(vars(self))
        return cleaned


@dataclass(frozen=True)
class MeasureSpec:
    """On which device and with which backends, and whether AP is measured.

    resamples: random parts of the images of which intervals of AP are made (0: no intervals).
    """

    device: torch.device
    backends: Sequence[str] = ("torch",)
    evaluated: bool = True
    resamples: int = 200


def measure_checkpoints(paths: Mapping[str, Path], exp: BaseExp, how: MeasureSpec) -> list[Stage]:
    """Measure the checkpoint of each stage. Latency is taken in turns, so its ratios are fair."""
    stages: list[Stage] = []
    seen: dict[str, ImageMatches] = {}
    for name, path in paths.items():
        content = checkpoint.read(path)
        restored = restore_content(content, path, exp.detector_spec())
        model = fuse(restored.model)
        size = complexity(model, exp.test_size)
        stored = checkpoint.weights_bytes(path)
        stage = Stage(name, None, None, size.params, size.nonzero, size.macs, stored)
        stage.note = _note(content.get("chosen"))
        if how.evaluated:
            backend = TorchBackend(model, model_info(restored), how.device)
            matches = _measure_accuracy(stage, backend, exp)
            if how.resamples:
                stage.AP_low, stage.AP_high = ap_interval(matches, how.resamples).interval
                stage.AP_differences = _differences(seen, matches, how.resamples)
                seen[name] = matches
        stages.append(stage)
    _measure_speed(stages, paths, exp, how)
    return stages


def _note(chosen: Mapping[str, Any] | None) -> str:
    """How a stage's model was chosen, where there was a choice."""
    if not chosen or not chosen["scores"]:
        return ""
    kept, scores = chosen["kept"], chosen["scores"]
    others = ", ".join(f"{name} {value:.4f}" for name, value in scores.items() if name != kept)
    better = "" if kept == list(scores)[-1] else "what came later was worse; "
    return f"{better}{kept} is kept ({chosen['measure']} {scores[kept]:.4f}; {others})"


def _measure_accuracy(stage: Stage, backend: Backend, exp: BaseExp) -> ImageMatches:
    """AP of a stage, and which of its detections are right."""
    dataset = exp.get_eval_dataset()
    found = evaluate_alone(backend, dataset, exp.test_size, exp.predict_options())
    stage.AP, stage.AP50 = found.metrics.AP, found.metrics.AP50
    return match(ground_truth(dataset), found.results)


def _differences(
    seen: Mapping[str, ImageMatches], matches: ImageMatches, resamples: int
) -> dict[str, dict[str, float | None]]:
    """A stage's AP less that of the dense model, of the control and of the stage before."""
    found: dict[str, dict[str, float | None]] = {}
    for name in dict.fromkeys([*(n for n in (DENSE, CONTROL) if n in seen), *list(seen)[-1:]]):
        estimate = paired_difference(seen[name], matches, resamples)
        low, high = estimate.interval
        found[name] = {"value": estimate.value, "low": low, "high": high}
    return found


def _measure_speed(
    stages: Sequence[Stage], paths: Mapping[str, Path], exp: BaseExp, how: MeasureSpec
) -> None:
    by_name = {stage.name: stage for stage in stages}
    for row in measure_speed(paths, exp, how.backends, how.device):
        stage, backend = by_name[row.case.model.name], row.case.backend
        if row.case.batch == 1:
            stage.latency_ms[backend], stage.peak_mb[backend] = row.latency_ms, row.peak_mb
        else:
            stage.latency_ms_batch8[backend] = row.latency_ms
