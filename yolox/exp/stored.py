"""The experiment of a checkpoint: what it stores, never code that it names.

A checkpoint may come from a stranger. Its experiment file is not imported, wherever it lies: a
shipped experiment of the stored name is taken, else a plain one, and the stored options are set.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loguru import logger

from yolox.engine import checkpoint
from yolox.errors import ModelError, UsageError
from yolox.exp.base import BaseExp
from yolox.exp.build import EXPS_DIR, get_exp, shipped_as, shipped_names
from yolox.exp.options import option_types
from yolox.exp.yolox import Exp
from yolox.families import family_of
from yolox.families.yolox import YoloxSpec
from yolox.values import check_value, shown

# Where results go, which other model is read, whether images outside the data folder are, and how
# the machine computes, is for the command line to say.
NOT_TAKEN = (
    "allow_outside",
    "compiled",
    "exp_name",
    "output_dir",
    "teacher",
    "label_weight",
    "distill_outputs",
    "distill_features",
    "distill_layers",
)


def exp_of_checkpoint(path: str | Path) -> BaseExp:
    """The experiment that made a checkpoint, with the options it had then.

    No code but a shipped experiment's runs. Options of `NOT_TAKEN` keep their defaults; exp_name is
    that of the shipped experiment, else the checkpoint's file name. Raises ModelError where the
    checkpoint names no experiment, or an option has a wrong value; unknown options are warned of.
    """
    content = checkpoint.read(path)
    stored, family = content.get("exp"), family_of(content.get("spec", {}))
    if stored is None:
        raise ModelError(
            f"checkpoint {path} does not name its experiment: name it with -f or -n "
            "(in Python: exp_file or name)"
        )
    name, file = _shipped_name(stored), stored.get("file")
    if name is None and family != YoloxSpec.family:
        raise ModelError(
            f"checkpoint {path} is of the family {shown(family)}: name its experiment with -f or -n"
        )
    exp = get_exp(exp_name=name) if name is not None else Exp()
    if name is None:
        exp.exp_name = _file_name(path)
    set_stored_options(exp, stored.get("options", {}), f"checkpoint {path}")
    if file is not None and name is None:
        logger.info("experiment file {} is not run (name it with -f to run it)", file)
    return exp


def _shipped_name(stored: Mapping[str, Any]) -> str | None:
    """The shipped experiment that a checkpoint names, or one of whose files it names."""
    name, file = stored.get("name"), stored.get("file")
    if name is None and file is not None and EXPS_DIR in Path(file).parents:
        name = shipped_as(Path(file))
    if name is None:
        return None
    if (known := str(name).replace("_", "-")) in shipped_names():
        return known
    logger.warning("experiment {} is not known here: the checkpoint's options serve", shown(name))
    return None


def _file_name(path: str | Path) -> str:
    """A checkpoint's name without its ending, as the name of a folder."""
    stem = Path(path).stem
    return stem if stem.strip(".") else BaseExp.exp_name


def set_stored_options(exp: BaseExp, options: Mapping[str, Any], where: str) -> None:
    """Set what a checkpoint or a record stores, checked; say which values are new to it.

    where: the file, for messages. Raises ModelError for a wrong value; warns of unknown options.
    """
    known = option_types(exp)
    unknown = [key for key in options if key not in known]
    if unknown:
        names = ", ".join(map(shown, unknown))
        logger.warning("{}: options that are not known here are ignored: {}", where, names)
    changed = {}
    for key, value in options.items():
        if key in unknown or key in NOT_TAKEN:
            continue
        value = tuple(value) if isinstance(value, list) else value
        if value != getattr(exp, key, None):
            changed[key] = value
    try:
        for key, value in changed.items():
            check_value(f"exp: {key}", value, known[key])
            setattr(exp, key, value)
        exp.validate()
    except UsageError as error:
        raise ModelError(f"{where}: {error}") from error
    if changed:
        words = ", ".join(f"{key} {shown(value)}" for key, value in sorted(changed.items()))
        logger.info("options from {}: {}", where, words)
