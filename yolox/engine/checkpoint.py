"""Checkpoints: tensors and plain values, written whole or not at all, read without running code.

YOLOX's keys keep their meaning (`start_epoch`, `model` = EMA weights, `optimizer`, `best_ap`,
`curr_ap`). Added are `spec` (how to build the architecture), `exp` (name, file and options),
`class_names`, the raw weights and the rest of the training state, `channels` (what a pruned model
keeps of its spec's architecture), `masks` where there are any, and `sha256` over all of it.
A merged checkpoint holds `sparse` (fused weights, stored sparsely) in the place of `model`.
"""

import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yolox.engine import archive
from yolox.engine.content_hash import KEY, content_hash
from yolox.engine.parts import check_parts
from yolox.errors import ModelError
from yolox.files import whole_file

DESCRIPTION_KEYS = ("spec", "channels", "class_names", "category_ids", "exp")

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
    """Write a checkpoint whole or not at all, with its hash. Raises YoloxError as `whole_file`."""
    with whole_file(path) as work, work.open("wb") as file:  # a name would stand in the archive
        torch.save({**content, KEY: content_hash(content)}, file)


def read(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint to the CPU without running any code that it holds.

    Its hash is compared with its content; files without one (YOLOX's, and those of earlier
    versions) have the checksums of their archive compared. Raises ModelError naming the file where
    it is absent, damaged, refused or not a checkpoint, and the key that is not what it should be.
    """
    return read_hashed(path)[0]


def read_hashed(path: str | Path) -> tuple[dict[str, Any], str | None]:
    """The same with the hash that the file carries, None where it carries none."""
    path = Path(path)
    archive.inspect(path)
    content = _load(path)
    if not isinstance(content, dict):
        raise ModelError(
            f"checkpoint {path}: expected a dictionary, found {type(content).__name__}"
        )
    stated = _require_unchanged(content, path)
    if "model" not in content and "sparse" not in content:
        if not content or not all(isinstance(value, Tensor) for value in content.values()):
            raise ModelError(f"checkpoint {path} has neither 'model' nor 'sparse'")
        content = {"model": content}
    check_parts(content, path)
    return content, stated


def _load(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_SAFE), warnings.catch_warnings():  # type: ignore[arg-type]
            warnings.simplefilter(
                "ignore"
            )  # of old pickle protocols and of checks of sparse tensors
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"checkpoint {path}: refused, it holds more than tensors and plain values"
        ) from error
    except archive.DAMAGE as error:
        raise ModelError(archive.damaged(path, error)) from error


def _require_unchanged(content: dict[str, Any], path: Path) -> str | None:
    """Compare what was read with the hash in it, which is taken out and returned."""
    stated: str | None = content.pop(KEY, None)
    if stated is None:
        archive.require_checksums(path)
        return None
    try:
        found = content_hash(content)
    except archive.DAMAGE as error:
        raise ModelError(archive.damaged(path, error)) from error
    if stated != found:
        raise ModelError(f"checkpoint {path} is damaged: its content does not fit its sha256")
    return stated


def lean(content: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint without its training state: weights, masks and what describes them."""
    masks = content.get("masks", {})
    return {"model": content["model"], "masks": masks, **description(content)}


def description(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says about its model: architecture, classes and experiment."""
    return {key: content[key] for key in DESCRIPTION_KEYS if key in content}


def weights_bytes(content: Mapping[str, Any], path: str | Path) -> int:
    """Bytes of a checkpoint without its training state (that of a merged one is its file)."""
    if "sparse" in content:
        return Path(path).stat().st_size
    buffer = io.BytesIO()
    torch.save(lean(content), buffer)
    return buffer.getbuffer().nbytes
