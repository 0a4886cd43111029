"""The whole compression: mask, plan, prune, adapt, recover, merge, evaluate.

Every stage reads what the ones before it wrote and leaves its own artefact; a run that was stopped
after any of them goes on there.
"""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from compress.choose.latency import require_backend
from compress.flow.evaluate import evaluate_stage
from compress.flow.job import DENSE, PLAN, STAGES, Bench, Job, checkpoints, require_input_kept
from compress.flow.ledger import Files, Ledger
from compress.flow.measure import Stage
from compress.flow.planning import plan_stage
from compress.flow.recipe import Recipe
from compress.flow.stages import (
    adapt_stage,
    mask_stage,
    merge_stage,
    prune_stage,
    recover_stage,
    tuned,
)
from yolox.errors import UsageError
from yolox.files import file_hash

WORK: dict[str, Callable[[Bench, Files, bool], Files]] = {
    "mask": mask_stage, "plan": plan_stage, "prune": prune_stage,
    "adapt": adapt_stage, "recover": recover_stage, "merge": merge_stage,
}  # fmt: skip


def compress(job: Job) -> list[Stage]:
    """Run the stages up to `until`; returns the rows of the report where it was made.

    What is missing or wrong is noticed before the work where that is possible. Raises YoloxError.
    """
    bench = Bench(job)
    _check(bench)
    ledger = Ledger(job.out, STAGES[STAGES.index(job.start) :] if job.start else ())
    files: Files = {DENSE: Path(job.ckpt)}
    for name in _wanted(job.recipe, job.until):
        work = partial(WORK[name], bench, files)
        files.update(ledger.run(name, _inputs(bench, name, files), work))
    return evaluate_stage(bench, ledger, files) if job.until == "evaluate" else []


def _check(bench: Bench) -> None:
    job, recipe = bench.job, bench.recipe
    asked = _wanted(recipe, job.until)
    if not asked:
        raise UsageError(f"--until {job.until}: the recipe has none of the stages up to there")
    require_input_kept(job.ckpt, job.out, asked)
    if job.start and STAGES.index(job.start) > STAGES.index(job.until):
        raise UsageError(f"--from {job.start} comes after --until {job.until}")
    if recipe.prune is not None and recipe.prune.is_latency:
        require_backend(recipe.prune.backend)
    if job.evaluated and job.until == "evaluate":
        job.exp.get_eval_dataset()
    if any(step is not None and step.looks for step in (recipe.mask, recipe.prune, recipe.adapt)):
        bench.source  # noqa: B018 - made, and so checked
    if recipe.recover:
        tuned(bench)


def _wanted(recipe: Recipe, until: str) -> list[str]:
    """The stages that the recipe has, in order, without the evaluation."""
    sections = {
        "mask": recipe.mask, "plan": recipe.prune, "prune": recipe.prune,
        "adapt": recipe.adapt, "recover": recipe.recover or None, "merge": recipe.merge,
    }  # fmt: skip
    asked = STAGES[: STAGES.index(until) + 1]
    return [name for name, section in sections.items() if name in asked and section is not None]


def _inputs(bench: Bench, name: str, files: Files) -> dict[str, Any]:
    """Everything that the result of a stage depends on."""
    given: dict[str, Any] = {
        "files": {key: file_hash(path) for key, path in checkpoints(files).items()},
        "test_size": list(bench.exp.test_size),
    }
    recipe = asdict(bench.recipe)
    if name in ("mask", "plan", "adapt"):
        given |= {"data": bench.data_facts, "exp": bench.exp.options(), "mask": recipe["mask"]}
    if name in ("plan", "prune"):
        given |= {"prune": recipe["prune"]}
    if name == "plan" and bench.recipe.prune is not None and bench.recipe.prune.is_latency:
        given |= {"device": str(bench.job.options.device), "threads": torch.get_num_threads()}
    if name == "prune":
        given |= {"plan": file_hash(files[PLAN]), "adapted": bench.recipe.adapt is not None}
    if name in ("adapt", "recover", "merge"):
        given |= {name: recipe[name]}
    if name == "recover":
        options, teacher = bench.job.options, recipe["recover"].get("teacher")
        if teacher not in (None, DENSE):
            given |= {"teacher": file_hash(teacher)}
        given |= {"batch": options.batch_size, "precision": options.precision}
        given |= {"exp": bench.exp.options()}
    return given
