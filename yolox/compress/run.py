"""The whole compression: all stages, from the masks to the report.

Every stage reads what the ones before it wrote and leaves its own artefact; a run that was stopped
after any of them goes on there.
"""

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path

from loguru import logger

from yolox.backends.base import require_extra
from yolox.compress.adapt import AdaptStage
from yolox.compress.fingerprint import Fingerprints
from yolox.compress.int8 import Int8Stage
from yolox.compress.job import CompressionJob
from yolox.compress.label import LabelStage
from yolox.compress.latency import require_backend
from yolox.compress.ledger import Ledger
from yolox.compress.mask import MaskStage
from yolox.compress.merge import MergeStage
from yolox.compress.plan import PlanStage
from yolox.compress.prune import PruneStage
from yolox.compress.recover import ControlStage, RecoverStage, recovery_experiment
from yolox.compress.report.evaluate import evaluate
from yolox.compress.report.measure import ReportRow
from yolox.compress.stage import DENSE, Artefact, Stage, require_input_kept
from yolox.compress.workspace import Workspace
from yolox.data.folder import find_images
from yolox.defaults import EVALUATE, FEWEST, STAGE_NAMES
from yolox.engine.restore import restore
from yolox.errors import DataError, UsageError
from yolox.lock import locked

STAGES: tuple[Stage, ...] = (
    MaskStage(),
    PlanStage(),
    PruneStage(),
    AdaptStage(),
    LabelStage(),
    RecoverStage(),
    MergeStage(),
    ControlStage(),
    Int8Stage(),
)


def compress(job: CompressionJob) -> list[ReportRow]:
    """Run the stages up to `until`; returns the rows of the report where it was made.

    What is missing or wrong is noticed before the work where that is possible. Raises YoloxError.
    """
    stages = _asked(job)
    _check(job, stages)
    with locked(job.out):
        return _run(job, stages)


def _run(job: CompressionJob, stages: Sequence[Stage]) -> list[ReportRow]:
    ledger = Ledger(job.out, STAGE_NAMES[STAGE_NAMES.index(job.start) :] if job.start else ())
    workspace, fingerprints = Workspace.of(job), Fingerprints(job.out)
    found = {DENSE: Artefact(Path(job.ckpt))}
    for stage in stages:
        given = stage.given(job, found)
        key = {field.name: fingerprints.of(getattr(given, field.name)) for field in fields(given)}
        found.update(ledger.run(stage.name, key, partial(stage.run, given, workspace)))
    return evaluate(job, found, ledger.notes()) if job.until == EVALUATE else []


def _asked(job: CompressionJob) -> list[Stage]:
    """The stages that the job has, in order."""
    until = STAGE_NAMES.index(job.until)
    return [stage for stage in STAGES[: until + 1] if stage.is_asked(job)]


def _check(job: CompressionJob, stages: Sequence[Stage]) -> None:
    recipe = job.recipe
    if not stages:
        raise UsageError(f"--until {job.until}: the recipe has none of the stages up to there")
    require_input_kept(job.ckpt, job.out, stages)
    if job.start and STAGE_NAMES.index(job.start) > STAGE_NAMES.index(job.until):
        raise UsageError(f"--from {job.start} comes after --until {job.until}")
    if recipe.prune is not None and recipe.prune.is_latency:
        require_backend(recipe.prune.backend)
    if job.evaluated and job.until == EVALUATE:
        job.exp.get_eval_dataset()
    if any(isinstance(stage, Int8Stage) for stage in stages):
        _check_int8(job)
    if recipe.needs_images:
        job.image_source  # noqa: B018 - made, and so checked
    if job.control and recipe.recover is None:
        raise UsageError(
            "--control tunes the dense model as the recipe's recover says: it has none"
        )
    if recipe.recover is not None:
        _check_recovery(job, stages)


def _check_int8(job: CompressionJob) -> None:
    """Packages and images of the int8 stage. Raises UsageError, DataError."""
    step = job.recipe.int8
    assert step is not None
    require_backend(step.runtime)
    require_extra("nncf" if step.runtime == "openvino" else "onnxruntime", step.runtime)
    count, fewest = len(job.image_source), FEWEST
    if count < fewest:
        raise DataError(f"int8: calibration needs at least {fewest} images, there are {count}")


def _check_recovery(job: CompressionJob, stages: Sequence[Stage]) -> None:
    """Options, teacher and data of the recovery. Raises UsageError, ModelError, DataError."""
    try:
        tuned = recovery_experiment(job)
    except DataError as error:
        raise DataError(
            f"{error}; the recovery learns from images (--pictures DIR: of any, without labels; "
            "--no-recover leaves it out)"
        ) from error
    if tuned.teacher is not None:
        restore(tuned.teacher, tuned.detector_spec())
    if not any(isinstance(stage, RecoverStage) for stage in stages):
        return
    step = job.recipe.recover
    if step is not None and step.images is None and not step.labelled:
        raise UsageError("recover: labelled false needs pictures to learn from (--pictures DIR)")
    if step is not None and step.images is not None:
        find_images(Path(step.images))
    if job.control and tuned.teacher == job.ckpt and not tuned.label_weight:
        logger.warning(
            "the control learns nothing new: without labels the dense model is its own teacher"
        )
    if step is not None and not step.needs_labels:
        return
    tuned.get_dataset()
    tuned.get_eval_dataset()
