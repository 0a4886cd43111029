"""Recovery: the normal trainer on a masked or pruned checkpoint. There is no second loop."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from loguru import logger

from yolox.compress.workspace import DENSE, WRITTEN, Workspace
from yolox.config import nearest
from yolox.engine.train import train
from yolox.errors import UsageError
from yolox.exp import BaseExp
from yolox.exp.options import option_types
from yolox.values import check_value

# Options of every recovery that the recipe does not set: a first epoch that ruins the model is
# taken back and the rate lowered.
ALWAYS = {"guard": True}


def recovery_experiment(workspace: Workspace) -> BaseExp:
    """The experiment with the recipe's options. Raises UsageError for a wrong option or value."""
    options = {**ALWAYS, **workspace.recipe.recover}
    if options.get("teacher") == DENSE:
        options["teacher"] = workspace.job.ckpt
    tuned = copy.deepcopy(workspace.exp)
    set_options(tuned, options, "recipe: recover")
    tuned.validate()
    return tuned


def recover(workspace: Workspace, source: Path, stage: str, begun: bool) -> Path:
    """Fine-tune a checkpoint; returns the best one, whose masks and channels are the source's.

    stage: 'recover' or 'control', whose folder is used. begun: an earlier try was interrupted; it
    goes on from its last checkpoint, if it has one. Other tries are moved aside.
    """
    tuned, name = recovery_experiment(workspace), WRITTEN[stage][1]
    tuned.output_dir, tuned.exp_name = str(workspace.job.out), name
    folder = workspace.job.out / name
    resume = begun and (folder / "latest_ckpt.pth").is_file()
    if not resume:
        set_aside(folder)
    start = None if resume else str(source)
    result = train(tuned, replace(workspace.job.options, ckpt=start, resume=resume))
    return result.folder / "best_ckpt.pth"


def set_aside(folder: Path) -> None:
    """Rename a folder of an earlier try to NAME.1, NAME.2 and so on; nothing is deleted."""
    if not folder.exists():
        return
    number = 1
    while (target := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    folder.rename(target)
    logger.info("an earlier try was moved to {}", target)


def set_options(exp: BaseExp, values: Mapping[str, Any], where: str) -> None:
    """Set attributes of an experiment, checked. Raises UsageError naming the key."""
    known = option_types(exp)
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"{where}: unknown option {key!r}{nearest(key, list(known))}")
        value = tuple(value) if isinstance(value, list) else value
        check_value(f"{where}: {key}", value, known[key])
        setattr(exp, key, value)
