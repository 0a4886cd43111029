"""Which of several models is kept: nothing that a stage makes of a model may be worse than before.

Models are compared by AP where there are labelled images, else by how far their outputs are from
the dense model's on calibration images, else not at all: then the last one is kept.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from loguru import logger

from yolox.backends import TorchBackend
from yolox.compress.calibration import CalibrationImages
from yolox.compress.workspace import Workspace
from yolox.data.coco import CocoDataset
from yolox.engine import checkpoint
from yolox.engine.restore import restore_content
from yolox.eval.evaluate import evaluate_alone
from yolox.export.open import model_info
from yolox.families.base import Distance
from yolox.models.fuse import fuse
from yolox.models.network import Network

IMAGES = 32  # to compare outputs on


class Selection(NamedTuple):
    """The model that is kept, its name, and the scores of all by name (higher is better)."""

    model: Network
    name: str
    scores: dict[str, float]
    measure: str

    def as_json(self) -> dict[str, Any]:
        """What a checkpoint says of how it was chosen."""
        return {"kept": self.name, "measure": self.measure, "scores": self.scores}


class Selector:
    """Compares models that were made from the same dense one."""

    def __init__(self, workspace: Workspace, dense: Network, images: CalibrationImages | None):
        self._space, self._dense, self._images = workspace, dense, images

    def best(self, candidates: Mapping[str, Network]) -> Selection:
        """The model with the best score; of equal ones the last, which was fitted most."""
        measure, score = self._measure()
        *_, last = candidates
        if score is None or len(candidates) == 1:
            return Selection(candidates[last], last, {}, measure)
        scores = {name: score(model) for name, model in candidates.items()}
        kept = max(reversed(scores), key=lambda name: scores[name])
        listed = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        logger.info("{} is kept; {}: {}", kept, measure, listed)
        return Selection(candidates[kept], kept, scores, measure)

    def _measure(self) -> tuple[str, Callable[[Network], float] | None]:
        labelled = self._space.selection_set
        if labelled is not None:
            return "AP", lambda model: average_precision(self._space, model, labelled)
        if self._images is not None:
            near = OutputSimilarity(self._dense, self._images.first(IMAGES), self._space.distance)
            return "nearness to the dense model's outputs", near
        return "nothing measured", None


class OutputSimilarity:
    """Less than zero by the mean distance from a model's raw predictions."""

    def __init__(self, dense: Any, images: CalibrationImages, distance: Distance):
        self._images, self._distance = images, distance
        with torch.no_grad():
            self._wanted = [dense.eval().raw(batch) for batch in images()]

    @torch.no_grad()
    def __call__(self, model: Any) -> float:
        total, count = 0.0, 0
        for batch, wanted in zip(self._images(), self._wanted, strict=True):
            total += len(batch) * float(self._distance(model.eval().raw(batch), wanted))
            count += len(batch)
        return -total / count if math.isfinite(total) else -math.inf


def average_precision(workspace: Workspace, model: Network, dataset: CocoDataset) -> float:
    """AP of a model that was made from the job's checkpoint; 0 where it is undefined."""
    exp = workspace.exp
    content = checkpoint.read(workspace.job.ckpt)
    info = model_info(restore_content(content, workspace.job.ckpt, exp.detector_spec()))
    backend = TorchBackend(fuse(model), info, workspace.job.options.device)
    found = evaluate_alone(backend, dataset, exp.test_size, exp.predict_options())
    ap = found.metrics.AP
    return 0.0 if ap != ap else ap
