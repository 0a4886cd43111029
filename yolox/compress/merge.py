"""The sparse model: convolution and batch norm fused, masks multiplied in, zeros not stored."""

from collections.abc import Mapping
from typing import Any

from yolox.compress.steps import VALUE_TYPES, Storage
from yolox.engine.checkpoint import description
from yolox.engine.masks import apply_masks, check_masks
from yolox.models.complexity import count_nonzero
from yolox.models.fuse import fuse
from yolox.models.network import Network
from yolox.ops.sparse import encode


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
