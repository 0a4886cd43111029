"""What the result of each stage depends on: the key by which it is known to be done already.

Contents count, not names: other images or labels under the old paths are noticed, and a data set
that was only moved is not. Options that change no result are left out.
"""

from dataclasses import asdict
from typing import Any

import torch

from yolox.compress.ledger import Files
from yolox.compress.recover import recovery_experiment
from yolox.compress.sensitivity import SOLVED_ON
from yolox.compress.workspace import CONTROL, DENSE, PLAN, Workspace, checkpoints
from yolox.exp import BaseExp
from yolox.export.calibration import chosen_images
from yolox.files import file_hash

# Options of an experiment that change no weight: names and places (contents are compared), what is
# written when, and how many processes read the images.
WITHOUT_EFFECT = (
    "data_dir", "train_ann", "train_name", "val_ann", "val_name", "test_ann", "test_name",
    "select_ann", "select_name", "data_num_workers", "exp_name", "output_dir", "teacher",
    "print_interval", "save_interval", "save_minutes", "save_history_ckpt", "keep_latest",
    "data_timeout", "allow_outside",
)  # fmt: skip


def stage_inputs(workspace: Workspace, name: str, files: Files) -> dict[str, Any]:
    """Everything that the result of a stage depends on. Raises DataError, UsageError."""
    recipe = asdict(workspace.recipe)
    used = {DENSE: files[DENSE]} if name == CONTROL else checkpoints(files)
    given: dict[str, Any] = {
        "files": {key: file_hash(path) for key, path in used.items()},
        "test_size": list(workspace.exp.test_size),
    }
    if name == "merge":
        given |= {"merge": recipe["merge"]}
    by_name = {
        "mask": _mask, "plan": _plan, "prune": _prune, "adapt": _adapt, "recover": _recovery,
        CONTROL: _recovery,
    }  # fmt: skip
    if name in by_name:
        given |= by_name[name](workspace, files)
    return given


def _mask(workspace: Workspace, files: Files) -> dict[str, Any]:
    step = workspace.recipe.mask
    assert step is not None
    images = workspace.calibration_hash(step.images) if step.needs_images else None
    return {"mask": asdict(step), "images": images}


def _plan(workspace: Workspace, files: Files) -> dict[str, Any]:
    step, exp = workspace.recipe.prune, workspace.exp
    assert step is not None
    given: dict[str, Any] = {"prune": asdict(step), "seed": exp.seed}
    if step.needs_images:
        curves = step.ranking == "sensitivity"
        given["images"] = workspace.calibration_hash(max(step.images, SOLVED_ON * curves))
    if step.criterion == "taylor":
        dataset = exp.get_dataset()
        used = chosen_images(len(dataset), step.images)
        given |= {"data": workspace.labelled_hash(dataset, used), "loss": exp.own_options()}
    if step.is_latency:
        given |= {"device": str(workspace.job.options.device), "threads": torch.get_num_threads()}
    return given


def _prune(workspace: Workspace, files: Files) -> dict[str, Any]:
    plan, adapted = file_hash(files[PLAN]), workspace.recipe.adapt is not None
    assert workspace.recipe.prune is not None
    return {"plan": plan, "adapted": adapted, "exclude": list(workspace.recipe.prune.exclude)}


def _adapt(workspace: Workspace, files: Files) -> dict[str, Any]:
    step, labelled = workspace.recipe.adapt, workspace.selection_set
    assert step is not None
    given: dict[str, Any] = {"adapt": asdict(step)}
    if step.needs_images:
        given["images"] = workspace.calibration_hash(step.images)
    if workspace.recipe.mask is not None and "pruned" in files:  # masks are drawn anew
        given["mask"] = _mask(workspace, files)
    if labelled is not None:
        given["chosen on"] = workspace.labelled_hash(labelled)
        given["detections"] = asdict(workspace.exp.eval_spec())
    return given


def _recovery(workspace: Workspace, files: Files) -> dict[str, Any]:
    """Options, data and teacher of a fine-tune."""
    exp, options = recovery_experiment(workspace), workspace.job.options
    sets = [exp.get_dataset(), exp.get_select_dataset(), exp.get_eval_dataset()]
    judged = (
        None
        if workspace.selection_set is not None
        else workspace.calibration_hash(workspace.selection_images)
    )
    return {
        "recover": effective_options(exp),
        "teacher": file_hash(exp.teacher) if exp.teacher else None,
        "data": [workspace.labelled_hash(dataset) for dataset in sets if dataset is not None],
        "batch": options.batch_size,
        "precision": options.precision,
        "evaluated": workspace.job.evaluated,
        "judged on": judged,
    }


def effective_options(exp: BaseExp) -> dict[str, Any]:
    """The options of an experiment that its results depend on."""
    return {key: value for key, value in exp.options().items() if key not in WITHOUT_EFFECT}
