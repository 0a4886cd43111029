"""Greedy non-maximum suppression, by torchvision's compiled operator.

Importing torchvision takes seconds, as it imports its models and PyTorch's compiler. The library
that has the operator is loaded in milliseconds.
"""

import sys
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# Above so many coordinates one class after another is faster than all at once (torchvision #8925).
_MANY_ON_CPU = 4_000
_MANY = 100_000


def suppressed(boxes_xyxy: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Indices [k] of the boxes that no better one overlaps by more than `iou`, best first.

    boxes_xyxy: [n, 4]; scores: [n].
    """
    kept: Tensor = _operator()(boxes_xyxy, scores, iou)
    return kept


def suppressed_by_class(boxes_xyxy: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    """The same where boxes of different classes do not compete. labels: [n]."""
    if not len(boxes_xyxy):
        return torch.empty(0, dtype=torch.int64, device=boxes_xyxy.device)
    many = _MANY_ON_CPU if boxes_xyxy.device.type == "cpu" else _MANY
    if boxes_xyxy.numel() <= many:  # every class moved to a place of its own
        offsets = labels.to(boxes_xyxy) * (boxes_xyxy.max() + 1)
        return suppressed(boxes_xyxy + offsets[:, None], scores, iou)
    labels, order = labels.sort(stable=True)
    _, counts = torch.unique_consecutive(labels, return_counts=True)  # type: ignore[no-untyped-call]
    sizes = counts.tolist()
    parts = (torch.split(part, sizes) for part in (order, boxes_xyxy[order], scores[order]))
    found = [rows[suppressed(boxes, own, iou)] for rows, boxes, own in zip(*parts, strict=True)]
    kept = torch.cat(found).sort().values
    return kept[scores[kept].sort(descending=True).indices]


@cache
def _operator() -> Any:
    """torchvision's `nms`. Raises ImportError where torchvision is not installed."""
    found = find_spec("torchvision")
    if found and found.origin and "torchvision" not in sys.modules:
        for library in Path(found.origin).parent.glob("_C*"):
            with suppress(OSError):
                torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
    if not hasattr(torch.ops.torchvision, "nms"):
        import torchvision  # noqa: F401, PLC0415 - see above
    return torch.ops.torchvision.nms
