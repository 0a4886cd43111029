"""What a stage of compression made of the model: accuracy, size and speed, all measured here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from yolox.backends import TorchBackend
from yolox.engine import checkpoint
from yolox.eval.evaluate import evaluate, without_nan
from yolox.eval.latency import latency_ms, random_images
from yolox.eval.predict import PredictOptions
from yolox.exp import Exp
from yolox.export.open import describe
from yolox.models.complexity import complexity
from yolox.models.fuse import fuse


@dataclass
class Stage:
    """One row of the report. AP and AP50 are fractions, None where nothing was evaluated.

    params, nonzero_params and macs are those of the model as it is deployed: batch norm fused.
    file_bytes: weights and masks alone, without training state.
    """

    name: str
    AP: float | None
    AP50: float | None
    params: int
    nonzero_params: int
    macs: float
    file_bytes: int
    latency_ms: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """The row of `report.json`."""
        cleaned: dict[str, Any] = without_nan(vars(self))
        return cleaned


def measure_stages(
    paths: dict[str, Path], exp: Exp, device: torch.device, evaluated: bool
) -> list[Stage]:
    """Measure the checkpoint of each stage. Latency is taken in turns, so its ratios are fair."""
    stages: list[Stage] = []
    backends = {}
    for name, path in paths.items():
        restored = checkpoint.restore(path, exp.detector_spec())
        model = fuse(restored.model)
        size = complexity(model, exp.test_size)
        backends[name] = TorchBackend(model, describe(restored), device)
        ap, ap50 = _accuracy(backends[name], exp) if evaluated else (None, None)
        stored = checkpoint.weights_bytes(path)
        stages.append(Stage(name, ap, ap50, size.params, size.nonzero, size.macs, stored, {}))
    speeds = latency_ms(backends, random_images(1, exp.test_size))
    for stage in stages:
        stage.latency_ms["torch"] = speeds[stage.name]
    return stages


def _accuracy(backend: TorchBackend, exp: Exp) -> tuple[float, float]:
    options = PredictOptions(exp.eval_spec(), workers=exp.data_num_workers)
    found = evaluate(backend, exp.get_eval_dataset(), exp.test_size, 16, options)
    assert found is not None  # a single process is rank 0
    return found.metrics.AP, found.metrics.AP50
