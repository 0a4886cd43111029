"""The whole compression: mask, plan, prune, adapt, recover, merge, evaluate.

Every stage reads what the ones before it wrote and leaves its own artefact; a run that was stopped
after any of them goes on there.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from yolox.compress.fingerprint import stage_inputs
from yolox.compress.latency import require_backend
from yolox.compress.ledger import Files, Ledger
from yolox.compress.plan import plan_stage
from yolox.compress.recover import recovery_experiment
from yolox.compress.report.evaluate import evaluate_stage
from yolox.compress.report.measure import Stage
from yolox.compress.stages import (
    adapt_stage,
    control_stage,
    mask_stage,
    merge_stage,
    prune_stage,
    recover_stage,
)
from yolox.compress.workspace import CONTROL, DENSE, STAGES, Job, Workspace, require_input_kept
from yolox.engine.restore import restore
from yolox.errors import UsageError
from yolox.lock import locked

WORK: dict[str, Callable[[Workspace, Files, bool], Files]] = {
    "mask": mask_stage, "plan": plan_stage, "prune": prune_stage,
    "adapt": adapt_stage, "recover": recover_stage, "merge": merge_stage,
    CONTROL: control_stage,
}  # fmt: skip


def compress(job: Job) -> list[Stage]:
    """Run the stages up to `until`; returns the rows of the report where it was made.

    What is missing or wrong is noticed before the work where that is possible. Raises YoloxError.
    """
    workspace = Workspace(job)
    _check(workspace)
    with locked(job.out):
        return _run(workspace)


def _run(workspace: Workspace) -> list[Stage]:
    job = workspace.job
    ledger = Ledger(job.out, STAGES[STAGES.index(job.start) :] if job.start else ())
    files: Files = {DENSE: Path(job.ckpt)}
    for name in _wanted(job):
        work = partial(WORK[name], workspace, files)
        files.update(ledger.run(name, stage_inputs(workspace, name, files), work))
    return evaluate_stage(workspace, ledger, files) if job.until == "evaluate" else []


def _check(workspace: Workspace) -> None:
    job, recipe = workspace.job, workspace.recipe
    asked = _wanted(job)
    if not asked:
        raise UsageError(f"--until {job.until}: the recipe has none of the stages up to there")
    require_input_kept(job.ckpt, job.out, asked)
    if job.start and STAGES.index(job.start) > STAGES.index(job.until):
        raise UsageError(f"--from {job.start} comes after --until {job.until}")
    if recipe.prune is not None and recipe.prune.is_latency:
        require_backend(recipe.prune.backend)
    if job.evaluated and job.until == "evaluate":
        job.exp.get_eval_dataset()
    if recipe.needs_images:
        workspace.source  # noqa: B018 - made, and so checked
    if job.control and not recipe.recover:
        raise UsageError(
            "--control tunes the dense model as the recipe's recover says: it has none"
        )
    if recipe.recover:
        _check_recovery(workspace)


def _check_recovery(workspace: Workspace) -> None:
    """Options, teacher and data of the recovery. Raises UsageError, ModelError, DataError."""
    tuned = recovery_experiment(workspace)
    if tuned.teacher is not None:
        restore(tuned.teacher, tuned.detector_spec())
    if "recover" in _wanted(workspace.job):
        tuned.get_dataset()
        tuned.get_eval_dataset()


def _wanted(job: Job) -> list[str]:
    """The stages that the job has, in order, without the evaluation."""
    recipe = job.recipe
    sections = {
        "mask": recipe.mask, "plan": recipe.prune, "prune": recipe.prune,
        "adapt": recipe.adapt, "recover": recipe.recover or None, "merge": recipe.merge,
        CONTROL: recipe.recover if job.control else None,
    }  # fmt: skip
    asked = STAGES[: STAGES.index(job.until) + 1]
    return [name for name, section in sections.items() if name in asked and section is not None]
