"""The sparse model: convolution and batch norm fused, masks multiplied in, zeros not stored.

`python compress/merge.py --ckpt tuned.pth` writes `merged.pth`, which `tools/eval.py`, `main.py`
and `tools/demo.py` read like any checkpoint. It cannot be trained: its batch norms are gone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from torch import nn

from compress.mask import add_architecture, load_dense, named_architecture
from yolox.cli.common import Parser, run
from yolox.engine import checkpoint
from yolox.engine.checkpoint import description
from yolox.engine.masks import apply_masks, check_masks
from yolox.errors import UsageError
from yolox.models.complexity import count_nonzero
from yolox.models.fuse import fuse
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


def merge(content: Mapping[str, Any], model: nn.Module, storage: Storage) -> dict[str, Any]:
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


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    parser = Parser("compress/merge.py", description=__doc__)
    parser.add_argument("--ckpt", required=True, help="checkpoint with masks")
    parser.add_argument("--encoding", default="bitmask", help=", ".join(ENCODINGS))
    parser.add_argument("--values", default="fp32", help=", ".join(VALUE_TYPES))
    parser.add_argument("--out", default="YOLOX_outputs/compress", help="folder for merged.pth")
    add_architecture(parser)
    args = parser.parse(argv)
    content, model = load_dense(args.ckpt, named_architecture(args))
    if not content.get("masks"):
        logger.warning(
            "checkpoint {} has no masks: only what is zero already is left out", args.ckpt
        )
    merged = merge(content, model, Storage(args.encoding, args.values))
    target = Path(args.out) / "merged.pth"
    checkpoint.save(target, merged)
    logger.info(
        "{} values not zero, {:.2f} MB -> {}",
        merged["nonzero_params"], target.stat().st_size / 1e6, target,
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
