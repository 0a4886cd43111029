"""Which of several models is kept: nothing that a stage makes of a model may be worse than before.

Models are compared by AP where there are labelled images, else by how far their outputs are from
the dense model's on calibration images, else not at all: then the last one is kept.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from loguru import logger

from yolox.backends import Backend, ModelInfo, TorchBackend
from yolox.compress.calibration import CalibrationImages, ImageSet, LabelledSet
from yolox.compress.fingerprint import Fingerprints
from yolox.eval.evaluate import evaluate_alone
from yolox.eval.predict import PredictOptions
from yolox.exp import BaseExp
from yolox.families.base import Distance
from yolox.models.copies import copied
from yolox.models.fake_int8 import as_int8, as_used
from yolox.models.network import Network

IMAGES = 32  # to compare outputs on

Score = Callable[[Network], float]


class Selection(NamedTuple):
    """The model that is kept, its name, and the scores of all by name (higher is better)."""

    model: Network
    name: str
    scores: dict[str, float]
    measure: str

    def as_json(self) -> dict[str, Any]:
        """What a checkpoint says of how it was chosen."""
        return {"kept": self.name, "measure": self.measure, "scores": self.scores}


def select(candidates: Mapping[str, Network], measure: str, score: Score | None) -> Selection:
    """The model with the best score; of equal ones the last, which was fitted most.

    score: None where nothing can be measured: the last one is kept. measure: what it is, in words.
    """
    *_, last = candidates
    if score is None or len(candidates) == 1:
        return Selection(candidates[last], last, {}, measure)
    scores = {name: score(model) for name, model in candidates.items()}
    kept = max(reversed(scores), key=lambda name: scores[name])
    listed = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
    logger.info("{} is kept; {}: {}", kept, measure, listed)
    return Selection(candidates[kept], kept, scores, measure)


@dataclass(frozen=True)
class OutputDistance:
    """How far the raw predictions of two models of an experiment are from each other."""

    exp: BaseExp

    @property
    def of(self) -> Distance:
        """The criterion's own distance."""
        return self.exp.get_criterion().distance

    def fingerprint(self, fingerprints: Fingerprints) -> Any:
        """The options of the experiment's family, among them those of its loss."""
        return fingerprints.of(self.exp.own_options())


@dataclass(frozen=True)
class ApMeasure:
    """AP on labelled images."""

    labelled: LabelledSet
    size_hw: tuple[int, int]
    options: PredictOptions

    def of(
        self, model: Network, info: ModelInfo, device: torch.device, int8: bool = False
    ) -> float:
        """AP of a model, or of what it computes with 8 bits; 0 where it is undefined."""
        return self.of_backend(TorchBackend(as_used(model, int8), info, device))

    def of_backend(self, backend: Backend) -> float:
        """AP of what any backend computes; 0 where it is undefined."""
        found = evaluate_alone(backend, self.labelled.dataset, self.size_hw, self.options)
        ap = found.metrics.AP
        return 0.0 if ap != ap else ap

    def fingerprint(self, fingerprints: Fingerprints) -> Any:
        """Labels, images and what becomes a detection."""
        return fingerprints.of([self.labelled, self.size_hw, self.options.eval_spec])


@dataclass(frozen=True)
class SelectionRule:
    """Compares models that were made from the same dense one.

    ap: on images that choose, where there are any. images: else to compare outputs on. int8: the
    candidates are for an INT8 file, and are compared as they compute with 8 bits.
    """

    ap: ApMeasure | None
    images: ImageSet | None
    distance: OutputDistance
    int8: bool = False

    def select(
        self,
        candidates: Mapping[str, Network],
        dense: Network,
        info: ModelInfo,
        device: torch.device,
    ) -> Selection:
        """The best of the candidates. info: what a runtime must know of all of them."""
        ap = self.ap
        if ap is not None:
            return select(candidates, "AP", lambda model: ap.of(model, info, device, self.int8))
        if self.images is None:
            return select(candidates, "nothing measured", None)
        images = self.images.open(device, IMAGES)
        similarity = OutputSimilarity(dense, images, self.distance.of)

        def score(model: Network) -> float:
            return similarity(as_int8(copied(model)) if self.int8 else model)

        return select(candidates, "similarity to the dense model's outputs", score)


class OutputSimilarity:
    """Minus the mean distance from a model's raw predictions."""

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
