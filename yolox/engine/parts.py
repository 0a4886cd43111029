"""What each key of a checkpoint must be. Everything behind `checkpoint.read` may rely on it."""

import math
from collections.abc import Callable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolox.errors import ModelError
from yolox.values import is_clean, is_whole

MAX_NESTED = 20
SIDES = {"in", "out"}

Check = Callable[[Any], bool]


def check_parts(content: Mapping[str, Any], path: str | Path) -> None:
    """Raises ModelError naming the file and the first key whose value is not what it must be.

    Keys that nobody here reads may hold anything.
    """
    _check(content, PARTS, f"checkpoint {path}")
    if content.get("exp") is not None:
        _check(content["exp"], EXPERIMENT, f"checkpoint {path}: exp")
    if content.get("state") is not None:
        _check(content["state"], STATE, f"checkpoint {path}: state")


def _check(values: Mapping[str, Any], known: Mapping[str, tuple[Check, str]], where: str) -> None:
    for key, (fits, words) in known.items():
        if key in values and not fits(values[key]):
            raise ModelError(f"{where}: {key} is not {words}")


def or_none(fits: Check) -> Check:
    """Also None."""
    return lambda value: value is None or fits(value)


def is_dict(value: Any) -> bool:
    """A dictionary with texts as keys."""
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def is_tensors(value: Any) -> bool:
    """A dictionary of ordinary tensors by name."""
    return is_dict(value) and all(map(_is_dense, value.values()))


def is_masks(value: Any) -> bool:
    """A dictionary of boolean tensors by name."""
    return is_tensors(value) and all(mask.dtype == torch.bool for mask in value.values())


def is_channels(value: Any) -> bool:
    """Whole numbers by layer and side. `yolox.models.channels` compares them with the layer."""
    return is_dict(value) and all(
        is_dict(sides) and sides and set(sides) <= SIDES and all(map(is_numbers, sides.values()))
        for sides in value.values()
    )


def is_numbers(value: Any) -> bool:
    """A list of whole numbers."""
    return isinstance(value, list | tuple) and all(map(is_whole, value))


def is_names(value: Any) -> bool:
    """A list of texts."""
    return isinstance(value, list | tuple) and all(map(is_text, value))


def is_text(value: Any) -> bool:
    """A text that can be printed."""
    return isinstance(value, str) and is_clean(value)


def is_count(value: Any) -> bool:
    """A whole number that is not negative."""
    return is_whole(value) and value >= 0


def is_real(value: Any) -> bool:
    """A number, numpy's too, which may be infinite or undefined."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """A finite number, numpy's too."""
    return is_real(value) and math.isfinite(value)


def is_plain(value: Any, depth: int = 0) -> bool:
    """A value that can stand in JSON: no list nested in lists without end."""
    if isinstance(value, list | tuple):
        return depth < MAX_NESTED and all(is_plain(item, depth + 1) for item in value)
    return value is None or isinstance(value, bool) or is_text(value) or is_finite(value)


def is_options(value: Any) -> bool:
    """Plain values by name."""
    return is_dict(value) and all(map(is_plain, value.values()))


def is_optimizer(value: Any) -> bool:
    """What `Optimizer.state_dict` gives: values by parameter, and groups with their settings."""
    if not (is_dict(value) and isinstance(value.get("state", {}), Mapping)):
        return False
    states, groups = value.get("state", {}).values(), value.get("param_groups", [])
    return (
        all(is_dict(state) and all(map(_is_state, state.values())) for state in states)
        and isinstance(groups, list)
        and all(is_options(group) for group in groups)
    )


def _is_state(value: Any) -> bool:
    return _is_dense(value) or is_plain(value)


def _is_dense(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided


def _is_rng(value: Any) -> bool:
    return _is_dense(value) and value.dtype == torch.uint8 and value.dim() == 1


def is_file_record(value: Any) -> bool:
    """A file's path and hash."""
    return is_dict(value) and all(is_text(value.get(key)) for key in ("path", "sha256"))


def is_choice(value: Any) -> bool:
    """Which of several models was kept, by what measure, and the scores of all by name."""
    if not is_dict(value) or not all(is_text(value.get(key)) for key in ("kept", "measure")):
        return False
    scores = value.get("scores")
    known = is_dict(scores) and all(map(is_text, scores)) and all(map(is_real, scores.values()))
    return known and (not scores or value["kept"] in scores)


TENSORS = "a dictionary of tensors by name"
NUMBER = "a finite number"
COUNT = "a whole number from 0"
PARTS: dict[str, tuple[Check, str]] = {
    "model": (is_tensors, TENSORS),
    "sparse": (is_dict, "a dictionary"),
    "spec": (is_dict, "a dictionary"),
    "channels": (is_channels, "lists of whole numbers by layer and side"),
    "masks": (is_masks, "a dictionary of boolean tensors by name"),
    "class_names": (or_none(is_names), "a list of names"),
    "category_ids": (or_none(is_numbers), "a list of whole numbers"),
    "exp": (or_none(is_dict), "a dictionary"),
    "start_epoch": (is_count, COUNT),
    "best_ap": (or_none(is_finite), NUMBER),
    "curr_ap": (or_none(is_finite), NUMBER),
    "chosen": (or_none(is_choice), "a choice among models with their scores"),
    "optimizer": (is_optimizer, "the state of an optimiser"),
    "state": (or_none(is_dict), "a dictionary"),
    "nonzero_params": (is_count, COUNT),
}
EXPERIMENT: dict[str, tuple[Check, str]] = {
    "file": (or_none(is_text), "a path"),
    "name": (or_none(is_text), "a name"),
    "options": (is_options, "a dictionary of plain values"),
}
STATE: dict[str, tuple[Check, str]] = {
    "raw_model": (is_tensors, TENSORS),
    "ema_updates": (is_count, COUNT),
    "scaler": (is_options, "a dictionary of numbers"),
    "rng": (_is_rng, "a state of torch's random numbers"),
    "step": (is_count, COUNT),
    "steps_per_epoch": (lambda value: is_count(value) and value > 0, "a positive whole number"),
    "best_ap": (is_finite, NUMBER),
    "optimizer_name": (is_text, "a name"),
    "evaluations_without_gain": (is_count, COUNT),
    "skipped_steps": (is_count, COUNT),
    "lr_scale": (lambda value: is_finite(value) and 0 < value <= 1, "a number from 0 to 1"),
    "taken_back": (is_count, COUNT),
    "run_id": (is_text, "a name"),
    "job": (or_none(is_text), "a name"),
    "parent": (or_none(is_file_record), "the path and the hash of a file"),
    "awaits_evaluation": (lambda value: isinstance(value, bool), "true or false"),
}
