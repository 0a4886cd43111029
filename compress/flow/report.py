"""The report of a compression run: a table for people, JSON for programs."""

import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tabulate import tabulate

import yolox
from compress.flow.measure import Stage


def stage_table(stages: Sequence[Stage]) -> str:
    """One row per stage, with shares of the first one."""
    first = stages[0]
    rows = [stage_cells(stage, first) for stage in stages]
    return tabulate(rows, headers=stage_headers(first), tablefmt="github", disable_numparse=True)


def stage_headers(first: Stage) -> list[str]:
    """Of the columns."""
    return [
        "stage", "AP (95 %)", "AP50", "params M", "not zero M", "GMACs", "file MB",
        *(f"{name} ms" for name in first.latency_ms),
    ]  # fmt: skip


def stage_cells(stage: Stage, first: Stage) -> list[str]:
    """One row as text."""
    return [
        stage.name,
        _with_interval(stage),
        fraction(stage.AP50),
        f"{stage.params / 1e6:.3f} ({stage.params / first.params:.0%})",
        f"{stage.nonzero_params / 1e6:.3f} ({stage.nonzero_params / first.nonzero_params:.0%})",
        f"{stage.macs / 1e9:.3f} ({stage.macs / first.macs:.0%})",
        f"{stage.file_bytes / 1e6:.2f} ({stage.file_bytes / first.file_bytes:.0%})",
        *(_milliseconds(stage.latency_ms.get(name)) for name in first.latency_ms),
    ]


def report_content(stages: Sequence[Stage], facts: Mapping[str, Any]) -> dict[str, Any]:
    """`report.json`: the stages in order, the dense model first, and how they were made."""
    return {
        "stages": [stage.as_json() for stage in stages],
        "command": sys.argv,
        "versions": {
            "yolox": yolox.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        **facts,
    }


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _with_interval(stage: Stage) -> str:
    if stage.AP_low is None or stage.AP_high is None:
        return fraction(stage.AP)
    return f"{fraction(stage.AP)} ({stage.AP_low:.3f}-{stage.AP_high:.3f})"


def fraction(value: float | None) -> str:
    """Four digits, or a dash where nothing was measured."""
    return "-" if value is None or value != value else f"{value:.4f}"
