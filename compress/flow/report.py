"""The report of a compression run: a table for people, JSON for programs."""

import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

import yolox
from compress.flow.measure import Stage
from yolox.files import write_json


def stage_table(stages: Sequence[Stage]) -> str:
    """One row per stage, with shares of the first one."""
    first = stages[0]
    rows = [
        [
            stage.name,
            _with_interval(stage),
            _fraction(stage.AP50),
            f"{stage.params / 1e6:.3f}",
            f"{stage.nonzero_params / 1e6:.3f} ({stage.nonzero_params / first.nonzero_params:.0%})",
            f"{stage.macs / 1e9:.3f}",
            f"{stage.file_bytes / 1e6:.2f} ({stage.file_bytes / first.file_bytes:.0%})",
            *(_milliseconds(stage.latency_ms.get(name)) for name in first.latency_ms),
        ]
        for stage in stages
    ]
    headers = [
        "stage", "AP (95 %)", "AP50", "params M", "not zero M", "GMACs", "file MB",
        *(f"{name} ms" for name in first.latency_ms),
    ]  # fmt: skip
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


def write_report(path: Path, stages: Sequence[Stage], facts: Mapping[str, Any]) -> None:
    """`report.json`: the stages in order, the dense model first, and how they were made."""
    content = {
        "stages": [stage.as_json() for stage in stages],
        "command": sys.argv,
        "versions": {
            "yolox": yolox.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        **facts,
    }
    write_json(path, content, indent=2)


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _with_interval(stage: Stage) -> str:
    if stage.AP_low is None or stage.AP_high is None:
        return _fraction(stage.AP)
    return f"{_fraction(stage.AP)} ({stage.AP_low:.3f}-{stage.AP_high:.3f})"


def _fraction(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.4f}"
