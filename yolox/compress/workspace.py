"""The output folder of a compression: checkpoints in and out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from yolox.backends import ModelInfo
from yolox.compress.job import CompressionTask
from yolox.engine import checkpoint
from yolox.engine.checkpoint import lean
from yolox.engine.masks import check_masks
from yolox.engine.restore import restore_content
from yolox.errors import ModelError
from yolox.export.open import model_info
from yolox.families import DetectorSpec, spec_to_dict
from yolox.models.network import Network


class Loaded(NamedTuple):
    """A trainable checkpoint: what the file holds, its model, and what runtimes must know of it."""

    content: dict[str, Any]
    model: Network
    info: ModelInfo


def load_trainable(path: str | Path, expected: DetectorSpec | None = None) -> Loaded:
    """A checkpoint with batch norms and its model; the checkpoint's `spec` is filled in.

    expected: the experiment's architecture, for checkpoints that state none. Raises ModelError
    where the checkpoint is merged, states no architecture and none is expected, or does not fit.
    """
    content = checkpoint.read(path)
    if "sparse" in content:
        raise ModelError(f"checkpoint {path} is merged already: name the one it was made from")
    restored = restore_content(content, path, expected)
    check_masks(restored.masks, restored.model, f"checkpoint {path}")
    content["spec"] = spec_to_dict(restored.spec)
    return Loaded(content, restored.model, model_info(restored))


@dataclass(frozen=True)
class Workspace:
    """Where stages read and write. expected, origin: for checkpoints that state neither."""

    out: Path
    device: torch.device
    expected: DetectorSpec
    origin: Mapping[str, Any]

    @classmethod
    def of(cls, task: CompressionTask) -> "Workspace":
        """The output folder of a task or a job."""
        exp = task.exp
        return cls(task.out, task.options.device, exp.detector_spec(), exp.origin())

    def load(self, path: Path) -> Loaded:
        """A trainable checkpoint and its model, on the job's device. Raises ModelError."""
        content, model, info = load_trainable(path, self.expected)
        content.setdefault("exp", dict(self.origin))
        return Loaded(content, model.to(self.device), info)

    def save(
        self,
        name: str,
        content: Mapping[str, Any],
        model: Network,
        masks: Any,
        channels: Any,
        chosen: Mapping[str, Any] | None = None,
    ) -> Path:
        """A trainable checkpoint without training state; what `content` says of it is kept.

        chosen: how this model, and not the one that `content` was of, was chosen among others.
        """
        weights = {key: value.cpu() for key, value in model.state_dict().items()}
        path = self.out / name
        new = {"model": weights, "masks": dict(masks), "channels": channels or {}}
        choice = {} if chosen is None else {"chosen": dict(chosen)}
        checkpoint.save(path, {**lean(content), **new, **choice})
        return path
