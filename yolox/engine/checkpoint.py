"""Checkpoints: tensors and plain values, written whole or not at all, read without running code.

YOLOX's keys keep their meaning (`start_epoch`, `model` = EMA weights, `optimizer`, `best_ap`,
`curr_ap`). Added are `spec` (how to build the architecture), `exp` (name, file and options),
`class_names`, the raw weights and the rest of the training state, `channels` (what a pruned model
keeps of its spec's architecture) and `masks` where there are any.
A merged checkpoint holds `sparse` (fused weights, stored sparsely) in the place of `model`.
"""

import io
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loguru import logger
from torch import Tensor, nn

from yolox.config import DetectorSpec, from_dict, to_dict
from yolox.errors import ModelError, UsageError
from yolox.files import whole_file
from yolox.models import Detector, build
from yolox.models.channels import Channels, cut_channels
from yolox.models.fuse import fuse
from yolox.ops.sparse import decode

CLASS_KEYS = "head.cls_preds."
DESCRIPTION_KEYS = ("spec", "channels", "class_names", "category_ids", "exp")
_MAGIC = (b"PK\x03\x04", b"\x80")  # a zip archive, or the pickle of torch before 1.6
DAMAGE = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError)

# YOLOX stores best_ap as a numpy scalar; these three names are all that takes.
_NUMPY_SCALAR = np.float64().__reduce__()[0]
_SAFE = [
    (_NUMPY_SCALAR, "numpy.core.multiarray.scalar"),
    (_NUMPY_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    type(np.dtype(np.float64)),
    type(np.dtype(np.float32)),
]


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint whole or not at all. Raises YoloxError as `whole_file`."""
    with whole_file(path) as work, work.open("wb") as file:  # a name would stand in the archive
        torch.save(dict(content), file)


def read(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint to the CPU without running any code that it holds.

    Raises ModelError naming the file where it is absent, damaged, refused or not a checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"checkpoint {path} does not exist")
    with path.open("rb") as file:
        if not file.read(4).startswith(_MAGIC):
            raise ModelError(f"checkpoint {path} is not a checkpoint, or its beginning is damaged")
    try:
        with torch.serialization.safe_globals(_SAFE), warnings.catch_warnings():  # type: ignore[arg-type]
            warnings.simplefilter("ignore")  # of old pickle protocols, which are refused anyway
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(f"checkpoint {path}: {_unpickling_reason(error)}") from error
    except DAMAGE as error:
        reason = str(error).split(". ")[0] or type(error).__name__
        raise ModelError(f"checkpoint {path} is damaged: {reason}") from error
    if not isinstance(content, dict):
        raise ModelError(
            f"checkpoint {path}: expected a dictionary, found {type(content).__name__}"
        )
    if "model" not in content and "sparse" not in content:
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return {"model": content}
        raise ModelError(f"checkpoint {path} has neither 'model' nor 'sparse'")
    return content


def _unpickling_reason(error: pickle.UnpicklingError) -> str:
    text = str(error)
    for mark in ("Unsupported global: GLOBAL ", "Unsupported class ", "GLOBAL "):
        if mark in text:
            name = text.split(mark, 1)[1].split()[0].strip("`'\"")
            return f"refused, it would run code when loaded (it names {name})"
    return "refused, it holds more than tensors and plain values"


def spec_of(content: Mapping[str, Any], path: str | Path) -> DetectorSpec | None:
    """The architecture that a checkpoint states, if it states one. Raises ModelError."""
    if "spec" not in content:
        return None
    if not isinstance(content["spec"], dict):
        raise ModelError(f"checkpoint {path}: spec is not a dictionary")
    try:
        spec: DetectorSpec = from_dict(DetectorSpec, content["spec"], f"checkpoint {path}: spec")
    except UsageError as error:
        raise ModelError(str(error)) from error
    return spec


def channels_of(content: Mapping[str, Any], path: str | Path) -> dict[str, dict[str, list[int]]]:
    """What a pruned checkpoint keeps of its spec's architecture; empty for others.

    Raises ModelError where it is not what it should be.
    """
    channels: dict[str, dict[str, list[int]]] = content.get("channels", {})
    sides = list(channels.values()) if isinstance(channels, dict) else [None]
    lists = [kept for side in sides for kept in (side.values() if isinstance(side, dict) else [0])]
    if not all(isinstance(kept, list) for kept in lists):
        raise ModelError(f"checkpoint {path}: channels are not lists by layer and side")
    return channels


def lean(content: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint without its training state: weights, masks and what describes them."""
    masks = content.get("masks", {})
    return {"model": content["model"], "masks": masks, **description(content)}


def description(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says about its model: architecture, classes and experiment."""
    return {key: content[key] for key in DESCRIPTION_KEYS if key in content}


def weights_bytes(path: str | Path) -> int:
    """Bytes of a checkpoint without its training state (that of a merged one is its file)."""
    content = read(path)
    if "sparse" in content:
        return Path(path).stat().st_size
    buffer = io.BytesIO()
    torch.save(lean(content), buffer)
    return buffer.getbuffer().nbytes


@dataclass(frozen=True)
class Restored:
    """A model as its checkpoint describes it, with what else matters to those who use it."""

    model: nn.Module
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
    stated = spec_of(content, path)
    if stated is None and expected is None:
        raise ModelError(
            f"checkpoint {path} does not state its architecture: name it with -f or -n"
        )
    if stated is not None and expected is not None:
        require_same_spec(stated, expected, path)
    spec = stated or expected
    assert spec is not None
    channels = channels_of(content, path)
    model: nn.Module = cut_channels(build(spec), channels)
    fused = "sparse" in content
    if fused:
        model = fuse(model)
    try:
        state = decode(content["sparse"]) if fused else content["model"]
        load_state(model, state, f"checkpoint {path}")
    except DAMAGE as error:
        raise ModelError(f"checkpoint {path} is damaged: {error!r}") from error
    names, ids = content.get("class_names"), content.get("category_ids")
    return Restored(
        model.eval(), spec, fused, content.get("masks", {}), channels,
        tuple(names) if names else None, tuple(ids) if ids else None,
    )  # fmt: skip


def require_same_spec(stated: DetectorSpec, expected: DetectorSpec, path: str | Path) -> None:
    """Raises ModelError naming the first value in which two architectures differ."""
    ours, theirs = to_dict(expected), to_dict(stated)
    for key, value in theirs.items():
        if ours[key] != value:
            raise ModelError(
                f"checkpoint {path} is of another architecture: {key} is {value}, "
                f"the experiment has {ours[key]}"
            )


def load_state(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load strictly. Raises ModelError naming the first missing, unexpected or misshapen key."""
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
            raise ModelError(
                f"{where} is of another architecture: {key} has shape {tuple(state[key].shape)}, "
                f"expected {tuple(value.shape)}"
            )
        if state[key].is_floating_point() and not bool(torch.isfinite(state[key]).all()):
            raise ModelError(f"{where}: {key} holds values that are not finite")
    model.load_state_dict(dict(state))


def load_for_tuning(model: Detector, content: Mapping[str, Any], path: str | Path) -> list[str]:
    """Load weights to start a fine-tune from. Returns the keys that stay newly initialised.

    Only the class predictions may differ, for another number of classes; everything else must fit.
    """
    if "sparse" in content:
        raise ModelError(
            f"checkpoint {path} is merged (batch norm folded in): it cannot be trained"
        )
    state = dict(content["model"])
    own = model.state_dict()
    fresh = [
        key for key in own
        if key.startswith(CLASS_KEYS) and key in state and state[key].shape != own[key].shape
    ]  # fmt: skip
    for key in fresh:
        state[key] = own[key]
    load_state(model, state, f"checkpoint {path}")
    if fresh:
        logger.info(
            "{} classes in the checkpoint, {} here: {} tensors of the class predictions start anew",
            len(content["model"][fresh[0]]), len(own[fresh[0]]), len(fresh),
        )  # fmt: skip
    return fresh
