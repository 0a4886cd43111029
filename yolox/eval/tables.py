"""Metrics as text."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from yolox.eval.coco_ap import CocoMetrics, silent_classes
from yolox.eval.intervals import Estimate
from yolox.eval.voc_ap import VocMetrics


def metrics_table(metrics: CocoMetrics) -> str:
    """The overall metrics in one row."""
    keys = ["AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR100"]
    row = [_number(getattr(metrics, key)) for key in keys]
    return tabulate([row], headers=keys, tablefmt="github", disable_numparse=True)


def class_table(metrics: CocoMetrics) -> str:
    """One row per class that has boxes or detections, and a warning for classes never detected."""
    rows = [
        [name, _number(c.AP), _number(c.AP50), _number(c.AR100), c.boxes, c.detections]
        for name, c in metrics.per_class.items()
        if c.boxes or c.detections
    ]
    headers = ["class", "AP", "AP50", "AR100", "boxes", "detections"]
    table = tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
    silent = silent_classes(metrics)
    if silent:
        table += f"\nwarning: boxes but not one detection: {', '.join(silent)}"
    return table


def voc_table(found: Sequence[VocMetrics]) -> str:
    """AP by the VOC protocol: a row for all classes and one for each; two columns for each kind."""
    heads = [f"{key} ({one.points} recalls)" for one in found for key in ("AP", "AP50")]
    rows: list[list[Any]] = [
        ["all", *(_number(v) for one in found for v in (one.AP, one.AP50)), ""]
    ]
    for name, first in found[0].per_class.items():
        values = [v for one in found for v in (one.per_class[name].AP, one.per_class[name].AP50)]
        rows.append([name, *map(_number, values), first.boxes])
    headers = ["VOC protocol", *heads, "boxes"]
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


def interval_lines(estimate: Estimate, images: int) -> str:
    """What AP's interval is and covers, and a warning where it deserves less trust."""
    low, high = (_number(value) for value in estimate.interval)
    text = (
        f"95 % interval of AP: {low} to {high}, around {_number(estimate.corrected)}: what these "
        f"weights have on any number of such images and these {estimate.classes} classes.\n"
        f"The {_number(estimate.value)} above reads too high, as AP of {images} images does; other "
        "training runs are not covered."
    )
    return text if estimate.warning is None else f"{text}\nwarning: {estimate.warning}"


def latency_line(latency_ms: Mapping[str, float], batch_size: int, device: str) -> str:
    """Milliseconds per image by stage."""
    parts = ", ".join(f"{stage} {value:.2f}" for stage, value in latency_ms.items())
    return f"ms per image (batch {batch_size}, {device}): {parts}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
