"""The sparse model: convolution and batch norm fused, masks multiplied in, zeros not stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from yolox.engine.checkpoint import description
from yolox.engine.masks import apply_masks, check_masks
from yolox.errors import UsageError
from yolox.models.complexity import count_nonzero
from yolox.models.fuse import fuse
from yolox.models.network import Network
from yolox.ops.sparse import ENCODINGS, encode

VALUE_TYPES = {"fp32": torch.float32, "fp16": torch.float16}


@dataclass(frozen=True)
class Storage:
    """How a merged checkpoint is stored: 'bitmask' or 'coo', values in 'fp32' or 'fp16'.

    Raises UsageError for anything else.
    """

    encoding: str = "bitmask"
    values: str = "fp32"

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise UsageError(f"encoding {self.encoding!r} is none of {', '.join(ENCODINGS)}")
        if self.values not in VALUE_TYPES:
            raise UsageError(f"values {self.values!r} is none of {', '.join(VALUE_TYPES)}")


def merge(content: Mapping[str, Any], model: Network, storage: Storage) -> dict[str, Any]:
    """The merged checkpoint of a trainable one. The model is left as it is.

    content: the checkpoint; model: its weights, before fusing. Raises ModelError where a mask fits
    no parameter.
    """
    masks = content.get("masks", {})
    check_masks(masks, model, "merge")
    fused = fuse(model)
    apply_masks(fused, masks)
    sparse = encode(fused.state_dict(), storage.encoding, VALUE_TYPES[storage.values])
    return {**description(content), "sparse": sparse, "nonzero_params": count_nonzero(fused)}
