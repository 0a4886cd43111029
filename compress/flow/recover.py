"""Recovery: the normal trainer on a masked or pruned checkpoint. There is no second loop."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from yolox.config import nearest
from yolox.engine.state import RunOptions
from yolox.engine.train import train
from yolox.errors import UsageError
from yolox.exp import Exp
from yolox.exp.options import option_types
from yolox.values import check_value

FOLDER = "recover"  # within the output folder of the whole run


def tuning_experiment(exp: Exp, tune: Mapping[str, Any], out: Path) -> Exp:
    """The experiment of a fine-tune: `exp` with the options of a recipe, writing to `out/recover`.

    Raises UsageError for an unknown option or a wrong value.
    """
    tuned = copy.deepcopy(exp)
    set_options(tuned, tune, "recipe: recover")
    tuned.output_dir, tuned.exp_name = str(out), FOLDER
    tuned.validate()
    return tuned


def recover(tuned: Exp, source: Path, options: RunOptions, begun: bool) -> Path:
    """Fine-tune a checkpoint; returns the best one, whose masks and channels are the source's.

    begun: an earlier try was interrupted; it goes on from its last checkpoint, if it has one. The
    checkpoints of other tries are deleted.
    """
    folder = Path(tuned.output_dir) / FOLDER
    if not begun:
        for old in folder.glob("*_ckpt.pth"):
            old.unlink()
    resume = begun and (folder / "latest_ckpt.pth").is_file()
    start = None if resume else str(source)
    result = train(tuned, replace(options, ckpt=start, resume=resume))
    return result.folder / "best_ckpt.pth"


def set_options(exp: Exp, values: Mapping[str, Any], where: str) -> None:
    """Set attributes of an experiment, checked. Raises UsageError naming the key."""
    known = option_types(exp)
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"{where}: unknown option {key!r}{nearest(key, list(known))}")
        value = tuple(value) if isinstance(value, list) else value
        check_value(f"{where}: {key}", value, known[key])
        setattr(exp, key, value)
