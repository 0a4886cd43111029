"""Models of checkpoints: built as the checkpoint says, loaded strictly, refused where absurd."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from torch import Tensor, nn

from yolox.engine.archive import DAMAGE, damaged
from yolox.engine.checkpoint import read
from yolox.engine.masks import check_masks
from yolox.errors import ModelError, UsageError
from yolox.families import Detector, DetectorSpec, build, skeleton, spec_from_dict, spec_to_dict
from yolox.limits import limit
from yolox.models.channels import Channels, cut_in_place
from yolox.models.fuse import fuse
from yolox.models.transfer import fitting
from yolox.ops.sparse import decode

LEAST_COMMON = 0.05  # of a model's values that another architecture's checkpoint must have


@dataclass(frozen=True)
class Restored:
    """A model as its checkpoint describes it, with what else matters to those who use it."""

    model: Detector
    spec: DetectorSpec
    fused: bool
    masks: dict[str, Tensor]
    channels: Channels
    class_names: tuple[str, ...] | None
    category_ids: tuple[int, ...] | None


def restore(path: str | Path, expected: DetectorSpec | None = None) -> Restored:
    """The evaluation model of a checkpoint: dense, masked, pruned or merged, ours or YOLOX's.

    expected: the experiment's architecture; needed where the checkpoint states none, and compared
    with it where it does. Raises ModelError naming what does not fit.
    """
    return restore_content(read(path), path, expected)


def restore_content(
    content: Mapping[str, Any], path: str | Path, expected: DetectorSpec | None = None
) -> Restored:
    """`restore` for a checkpoint that was read already; `path` is for messages."""
    where = f"checkpoint {path}"
    stated = spec_of(content, path, expected)
    if stated is None and expected is None:
        raise ModelError(f"{where} does not state its architecture: name it with -f or -n")
    if stated is not None and expected is not None:
        require_same_spec(stated, expected, path)
    spec = stated or expected
    assert spec is not None
    channels, fused = channels_of(content, path), "sparse" in content
    state = _state(content, path)
    if stated is None:  # perhaps published by others
        state = skeleton(spec).adopt(state)
    _require_weights(spec, channels, state, path)
    model = cut_model(build(spec), channels, path)
    if fused:
        model = fuse(model)
    masks = content.get("masks", {})
    if not fused:
        check_masks(masks, model, where)
    load_state(model, state, where)
    names, ids = content.get("class_names"), content.get("category_ids")
    for key, values in (("class_names", names), ("category_ids", ids)):
        if values and len(values) != spec.num_classes:
            raise ModelError(f"{where}: {len(values)} {key}, {spec.num_classes} classes")
    return Restored(
        model.eval(),
        spec,
        fused,
        masks,
        channels,
        tuple(names) if names else None,
        tuple(ids) if ids else None,
    )


def spec_of(
    content: Mapping[str, Any], path: str | Path, expected: DetectorSpec | None = None
) -> DetectorSpec | None:
    """The architecture that a checkpoint states, if it states one. Raises ModelError.

    expected: the experiment's, which may be of a family of the user's own.
    """
    if "spec" not in content:
        return None
    try:
        known = None if expected is None else type(expected)
        return spec_from_dict(content["spec"], f"checkpoint {path}: spec", known)
    except UsageError as error:
        raise ModelError(str(error)) from error


def channels_of(content: Mapping[str, Any], path: str | Path) -> dict[str, dict[str, list[int]]]:
    """What a pruned checkpoint keeps of its spec's architecture; empty for others."""
    channels: dict[str, dict[str, list[int]]] = content.get("channels", {})
    return channels


def cut_model(model: Detector, channels: Channels, path: str | Path) -> Detector:
    """A fresh model, with the channels alone that a checkpoint keeps.

    Raises ModelError where layers have no such channels, or do not fit each other any more.
    """
    if not channels:
        return model
    where = f"checkpoint {path}"
    try:
        cut = cut_in_place(model, channels)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from error
    side = model.divisor
    trained = [module for module in cut.modules() if module.training]
    cut.eval()  # in training mode it would change its statistics
    try:
        with torch.no_grad():
            cut(torch.zeros(1, 3, side, side))
    except RuntimeError as error:
        raise ModelError(f"{where}: channels: what is left does not fit together") from error
    for module in trained:
        module.training = True
    return cut


def _require_weights(
    spec: DetectorSpec, channels: Channels, state: Mapping[str, Tensor], path: str | Path
) -> None:
    """Compare an architecture with stored weights before memory is taken for it.

    Only convolutions are compared, which are there in fused models, too. Raises ModelError.
    """
    where = f"checkpoint {path}"
    try:
        wanted = (
            _weight_shapes(cut_in_place(skeleton(spec), channels)) if channels else _shapes_of(spec)
        )
    except (ModelError, UsageError) as error:
        raise ModelError(f"{where}: {error}") from error
    missing = [key for key in wanted if key not in state]
    if missing:
        raise ModelError(
            f"{where} is of another architecture: missing {len(missing)} keys, first: {missing[0]}"
        )
    for key, shape in wanted.items():
        if state[key].shape != shape:
            raise ModelError(_misshapen(where, key, state[key], shape))


@cache
def _shapes_of(spec: DetectorSpec) -> dict[str, tuple[int, ...]]:
    return _weight_shapes(skeleton(spec))


def _weight_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Of the weights of all convolutions."""
    return {key: shape for key, shape in _shapes(model.state_dict()).items() if len(shape) == 4}


def _state(content: Mapping[str, Any], path: str | Path) -> Mapping[str, Tensor]:
    """The weights, dense."""
    if "sparse" not in content:
        state: Mapping[str, Tensor] = content["model"]
        return state
    try:
        return decode(content["sparse"])
    except DAMAGE as error:
        raise ModelError(damaged(path, error)) from error


def require_same_spec(stated: DetectorSpec, expected: DetectorSpec, path: str | Path) -> None:
    """Raises ModelError naming the first value in which two architectures differ."""
    ours, theirs = spec_to_dict(expected), spec_to_dict(stated)
    for key in {**theirs, **ours}:
        value = theirs.get(key)
        if ours.get(key) != value:
            raise ModelError(
                f"checkpoint {path} is of another architecture: {key} is {value}, "
                f"the experiment has {ours.get(key)}"
            )


def load_state(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load strictly.

    Raises ModelError naming the first missing, unexpected or misshapen key, and the first whose
    values no training leaves behind: not finite, astronomical, a negative variance.
    """
    own = model.state_dict()
    missing = [key for key in own if key not in state]
    extra = [key for key in state if key not in own]
    if missing or extra:
        parts = []
        if missing:
            parts.append(f"missing {len(missing)} keys, first: {missing[0]}")
        if extra:
            parts.append(f"{len(extra)} keys too many, first: {extra[0]}")
        raise ModelError(f"{where} is of another architecture: {'; '.join(parts)}")
    for key, value in own.items():
        if state[key].shape != value.shape:
            raise ModelError(_misshapen(where, key, state[key], value.shape))
        if state[key].is_floating_point() != value.is_floating_point():
            raise ModelError(f"{where}: {key} is of type {state[key].dtype}, not {value.dtype}")
        require_sane(state[key], f"{where}: {key}")
        if key.endswith(("running_var", "num_batches_tracked")) and bool((state[key] < 0).any()):
            raise ModelError(f"{where}: {key} is negative")
    model.load_state_dict(dict(state))


def require_sane(tensor: Tensor, where: str) -> None:
    """Raises ModelError where values are not finite, or larger than any training makes them."""
    if not tensor.is_floating_point() or not tensor.numel():
        return
    low, high = map(float, torch.aminmax(tensor.detach()))  # NaN where there is one
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ModelError(f"{where} holds values that are not finite")
    if max(-low, high) > limit("MAX_WEIGHT"):
        raise ModelError(f"{where} holds {max(-low, high):.3g}, which no training leaves behind")


def _misshapen(where: str, key: str, found: Tensor, expected: Sequence[int]) -> str:
    return (
        f"{where} is of another architecture: {key} has shape {tuple(found.shape)}, "
        f"expected {tuple(expected)}"
    )


def load_for_tuning(
    model: Detector, content: Mapping[str, Any], path: str | Path, partial: bool = False
) -> list[str]:
    """Load weights to start a fine-tune from. Returns the keys that stay newly initialised.

    Class predictions may be for another number of classes; everything else must fit. partial: what
    fits of another architecture is taken over, and the log says how much. Raises ModelError where
    it does not fit or hardly anything does, and where the checkpoint is merged.
    """
    if "sparse" in content:
        raise ModelError(
            f"checkpoint {path} is merged (batch norm folded in): it cannot be trained"
        )
    state = dict(model.adopt(content["model"]))
    own = model.state_dict()
    fresh = [
        key
        for key in own
        if key.startswith(model.class_keys) and key in state and state[key].shape != own[key].shape
    ]
    channels = {key: len(state[key]) for key in fresh}
    state |= {key: own[key] for key in fresh}
    if partial and _shapes(state) != _shapes(own):
        return _load_what_fits(model, state, fresh, path)
    load_state(model, state, f"checkpoint {path}")
    if fresh:
        logger.info(
            "another number of classes in the checkpoint: {} tensors of the class predictions "
            "start anew ({}: {} channels there, {} here)",
            len(fresh),
            fresh[0],
            channels[fresh[0]],
            len(own[fresh[0]]),
        )
    return fresh


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def _load_what_fits(
    model: Detector, state: Mapping[str, Tensor], fresh: Sequence[str], path: str | Path
) -> list[str]:
    """Load what another architecture has in common with the model. Returns the other keys."""
    found = fitting(model, {key: value for key, value in state.items() if key not in fresh})
    where = f"checkpoint {path}"
    if found.share < LEAST_COMMON:
        load_state(model, state, where)  # raises, naming what differs first
    load_state(model, found.state, where)
    anew = [key for key in found.state if key not in found.taken]
    logger.warning(
        "{} is of another architecture: {} of {} tensors are taken over ({:.0%} of the values), "
        "of {} the kernels stand in the middle of larger ones; {} start anew, first: {}",
        where,
        len(found.taken),
        len(found.state),
        found.share,
        len(found.enlarged),
        len(anew),
        anew[0] if anew else "none",
    )
    return anew


def require_sound_optimizer(optimizer: torch.optim.Optimizer, where: str) -> None:
    """Raises ModelError where a loaded state does not fit its parameter, or is not finite."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for name, value in optimizer.state.get(parameter, {}).items():
                if not isinstance(value, Tensor):
                    continue
                if value.dim() and value.shape != parameter.shape:
                    raise ModelError(
                        f"{where}: the optimiser's {name} has shape {tuple(value.shape)}, "
                        f"its parameter {tuple(parameter.shape)}"
                    )
                require_sane(value, f"{where}: the optimiser's {name}")
