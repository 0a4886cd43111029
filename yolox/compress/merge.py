"""The sparse model: convolution and batch norm fused, masks multiplied in, zeros not stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from loguru import logger

from yolox.compress.job import CompressionJob
from yolox.compress.stage import Artefact, Artefacts, Source, Stage, latest
from yolox.compress.steps import Storage
from yolox.compress.workspace import Workspace
from yolox.engine import checkpoint
from yolox.engine.checkpoint import description
from yolox.engine.masks import apply_masks, check_masks
from yolox.models.complexity import count_nonzero
from yolox.models.fuse import fuse
from yolox.models.network import Network
from yolox.ops.sparse import encode

TYPES = {"fp32": torch.float32, "fp16": torch.float16}  # of stored values


def merge(content: Mapping[str, Any], model: Network, storage: Storage) -> dict[str, Any]:
    """The merged checkpoint of a trainable one. The model is left as it is.

    content: the checkpoint; model: its weights, before fusing. Raises ModelError where a mask fits
    no parameter.
    """
    masks = content.get("masks", {})
    check_masks(masks, model, "merge")
    fused = fuse(model)
    apply_masks(fused, masks)
    sparse = encode(fused.state_dict(), storage.encoding, TYPES[storage.values])
    return {**description(content), "sparse": sparse, "nonzero_params": count_nonzero(fused)}


@dataclass(frozen=True)
class MergeInputs:
    """What the merge stage is given."""

    source: Source
    storage: Storage


class MergeStage(Stage):
    """Fuse, multiply the masks in, and store the result sparsely."""

    name = "merge"
    writes = ("merged.pth",)

    def is_asked(self, job: CompressionJob) -> bool:
        """Always."""
        return True

    def given(self, job: CompressionJob, found: Artefacts) -> MergeInputs:
        """The latest checkpoint."""
        return MergeInputs(latest(found, before="merged"), job.recipe.merge)

    def run(
        self, given: MergeInputs, workspace: Workspace, interrupted: bool
    ) -> dict[str, Artefact]:
        """Writes `merged.pth`."""
        content, model, _ = workspace.load(given.source.path)
        merged = merge(content, model, given.storage)
        target = workspace.out / "merged.pth"
        checkpoint.save(target, merged)
        logger.info("{} values not zero -> {}", merged["nonzero_params"], target)
        return {"merged": Artefact(target, given.source.name)}
