"""What the result of each stage depends on: the key by which it is known to be done already.

Contents count, not names: other images or labels under the old paths are noticed, and a data set
that was only moved is not. Options that change no result are left out.
"""

from dataclasses import asdict
from typing import Any

import torch

from compress.flow.job import CONTROL, DENSE, PLAN, Workspace, checkpoints
from compress.flow.ledger import Files
from compress.flow.recover import recovery_experiment
from compress.flow.sensitivity import SOLVED_ON
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


def stage_inputs(space: Workspace, name: str, files: Files) -> dict[str, Any]:
    """Everything that the result of a stage depends on. Raises DataError, UsageError."""
    recipe = asdict(space.recipe)
    used = {DENSE: files[DENSE]} if name == CONTROL else checkpoints(files)
    given: dict[str, Any] = {
        "files": {key: file_hash(path) for key, path in used.items()},
        "test_size": list(space.exp.test_size),
    }
    if name == "merge":
        given |= {"merge": recipe["merge"]}
    by_name = {
        "mask": _mask, "plan": _plan, "prune": _prune, "adapt": _adapt, "recover": _recovery,
        CONTROL: _recovery,
    }  # fmt: skip
    if name in by_name:
        given |= by_name[name](space, files)
    return given


def _mask(space: Workspace, files: Files) -> dict[str, Any]:
    step = space.recipe.mask
    assert step is not None
    images = space.calibration_hash(step.images) if step.looks else None
    return {"mask": asdict(step), "images": images}


def _plan(space: Workspace, files: Files) -> dict[str, Any]:
    step, exp = space.recipe.prune, space.exp
    assert step is not None
    given: dict[str, Any] = {"prune": asdict(step), "seed": exp.seed}
    if step.looks:
        curves = step.ranking == "sensitivity"
        given["images"] = space.calibration_hash(max(step.images, SOLVED_ON * curves))
    if step.criterion == "taylor":
        dataset = exp.get_dataset()
        used = chosen_images(len(dataset), step.images)
        given |= {"data": space.labelled_hash(dataset, used), "loss": exp.own_options()}
    if step.is_latency:
        given |= {"device": str(space.job.options.device), "threads": torch.get_num_threads()}
    return given


def _prune(space: Workspace, files: Files) -> dict[str, Any]:
    plan, adapted = file_hash(files[PLAN]), space.recipe.adapt is not None
    assert space.recipe.prune is not None
    return {"plan": plan, "adapted": adapted, "exclude": list(space.recipe.prune.exclude)}


def _adapt(space: Workspace, files: Files) -> dict[str, Any]:
    step, labelled = space.recipe.adapt, space.choice_set
    assert step is not None
    given: dict[str, Any] = {"adapt": asdict(step)}
    if step.looks:
        given["images"] = space.calibration_hash(step.images)
    if space.recipe.mask is not None and "pruned" in files:  # masks are drawn anew
        given["mask"] = _mask(space, files)
    if labelled is not None:
        given["chosen on"] = space.labelled_hash(labelled)
        given["detections"] = asdict(space.exp.eval_spec())
    return given


def _recovery(space: Workspace, files: Files) -> dict[str, Any]:
    """Options, data and teacher of a fine-tune."""
    exp, options = recovery_experiment(space), space.job.options
    sets = [exp.get_dataset(), exp.get_select_dataset(), exp.get_eval_dataset()]
    judged = None if space.choice_set is not None else space.calibration_hash(space.judging_images)
    return {
        "recover": effective_options(exp),
        "teacher": file_hash(exp.teacher) if exp.teacher else None,
        "data": [space.labelled_hash(dataset) for dataset in sets if dataset is not None],
        "batch": options.batch_size,
        "precision": options.precision,
        "evaluated": space.job.evaluated,
        "judged on": judged,
    }


def effective_options(exp: BaseExp) -> dict[str, Any]:
    """The options of an experiment that its results depend on."""
    return {key: value for key, value in exp.options().items() if key not in WITHOUT_EFFECT}
