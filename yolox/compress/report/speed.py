"""Latency and memory of the stages: each in a process of its own, those of a backend in turns."""

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from loguru import logger

from yolox.backends import missing_packages
from yolox.benchmark.cases import BenchmarkSpec, Case, Model, find_model
from yolox.benchmark.prepare import prepare
from yolox.benchmark.rounds import Row, measure
from yolox.defaults import FILE_BACKENDS
from yolox.engine import checkpoint
from yolox.errors import YoloxError
from yolox.exp import BaseExp
from yolox.export.open import is_exported

BATCHES = (1, 8)
ROUNDS = 9
SECONDS = 30.0  # of one backend and batch size, but three rounds are made in any case
TURN_MS = 60.0
AT_ONCE = 6  # processes in memory together
IN_TORCH = ("torch", "compile")  # these read checkpoints, all others an ONNX file that they share


def measure_speed(
    paths: Mapping[str, Path], exp: BaseExp, backends: Sequence[str], device: torch.device
) -> list[Row]:
    """Every checkpoint at batch 1 in torch; elsewhere, and at batch 8, the first and the last.

    paths: checkpoints by the stages' names, which the rows' models have; then exported files, which
    are measured in their own runtimes. What cannot be measured is left out, with a warning.
    """
    able = [backend for backend in dict.fromkeys(backends) if _installed(backend)]
    if not able:
        return []
    with tempfile.TemporaryDirectory(prefix="yolox-") as folder:
        work = Path(folder)
        models = [
            _lean(name, path, exp, work) for name, path in paths.items() if not is_exported(path)
        ]
        files = [
            replace(find_model(str(path), exp, None), name=name)
            for name, path in paths.items()
            if is_exported(path)
        ]
        ends = (models[0], models[-1], *files)
        cases = [
            case
            for model in (*models, *files)
            for case in _cases(model, able, model in ends, work / model.name)
        ]
        return [row for backend in able for row in _rows(cases, backend, device)]


def _installed(backend: str) -> bool:
    missing = missing_packages(backend)
    if missing:
        logger.warning(
            "{} is not measured: {} is not installed (pip install -e '.[{}]')",
            backend,
            " and ".join(missing),
            backend,
        )
    return not missing


def _lean(name: str, path: Path, exp: BaseExp, work: Path) -> Model:
    """A stage without training state, which would count as memory of its process."""
    content = checkpoint.read(path)
    if "sparse" not in content:
        path = work / f"{name}.pth"
        checkpoint.save(path, checkpoint.lean(content))
    return Model(name, path, exp, exp.test_size)


def _cases(model: Model, able: Sequence[str], is_end: bool, work: Path) -> Iterator[Case]:
    """What is measured of a stage. A failed export leaves the backends that need it out."""
    inside = [backend for backend in able if backend in IN_TORCH]
    outside = [backend for backend in able if backend not in IN_TORCH]
    if model.path is not None and is_exported(model.path):
        inside, outside = [], [b for b in outside if b == FILE_BACKENDS[model.path.suffix][0]]
    wanted = [inside, outside] if is_end else [[b for b in inside if b == "torch"]]
    for group in filter(None, wanted):
        plan = BenchmarkSpec(group, batches=BATCHES if is_end else BATCHES[:1])
        try:
            yield from prepare(model, plan, work, None)
        except (YoloxError, RuntimeError, OSError) as error:
            logger.warning("{} is not measured in {}: {}", model.name, " and ".join(group), error)


def _rows(cases: Sequence[Case], backend: str, device: torch.device) -> Iterator[Row]:
    """The rows of a backend that could be measured."""
    own = [case for case in cases if case.backend == backend]
    plan = BenchmarkSpec(
        threads=torch.get_num_threads(), rounds=ROUNDS, seconds=SECONDS, turn_ms=TURN_MS
    )
    base: dict[int, float] = {}  # milliseconds of the first stage by batch size
    for part in measure(own, plan, str(device), AT_ONCE):
        for row in part:
            if row.error is not None:
                continue
            first = base.setdefault(row.case.batch, row.latency_ms)
            if not math.isnan(row.ratio):  # where not all stand in memory at once
                row.latency_ms = row.ratio * first
            yield row
