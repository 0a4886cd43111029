"""The report of a compression run: a table for people, JSON for programs."""

import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tabulate import tabulate

import yolox
from yolox.compress.report.measure import Stage
from yolox.compress.workspace import CONTROL, DENSE


def stage_table(stages: Sequence[Stage], chosen_on: str | None = None) -> str:
    """One row per stage, with shares of the first one, and notes.

    chosen_on: on which images epochs and parts were chosen, in words.
    """
    headers, rows = stage_cells(stages)
    table = tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
    return "\n".join([table, *stage_notes(stages, chosen_on)])


def stage_notes(stages: Sequence[Stage], chosen_on: str | None = None) -> list[str]:
    """What must be known to read the table right, one sentence each."""
    notes = [f"{stage.name}: {stage.note}." for stage in stages if stage.note]
    return [*notes, *([chosen_on] if chosen_on else [])]


def stage_cells(stages: Sequence[Stage]) -> tuple[list[str], list[list[str]]]:
    """The same as text: the head and the rows."""
    backends = list(dict.fromkeys(name for stage in stages for name in stage.latency_ms))
    compared = next((name for name in (CONTROL, DENSE) if _has_difference(stages, name)), None)
    head = [
        "stage", "AP (95 %)", *([f"AP - {compared} (95 %)"] if compared else []), "AP50",
        "params M", "not zero M", "GMACs", "file MB", *(f"{name} ms" for name in backends),
    ]  # fmt: skip
    return head, [_cells(stage, stages[0], backends, compared) for stage in stages]


def _has_difference(stages: Sequence[Stage], name: str) -> bool:
    return any(name in stage.AP_differences for stage in stages)


def _cells(stage: Stage, first: Stage, backends: Sequence[str], compared: str | None) -> list[str]:
    return [
        stage.name,
        _with_interval(stage),
        *([_difference(stage, compared)] if compared else []),
        fraction(stage.AP50),
        f"{stage.params / 1e6:.3f} ({stage.params / first.params:.0%})",
        f"{stage.nonzero_params / 1e6:.3f} ({stage.nonzero_params / first.nonzero_params:.0%})",
        f"{stage.macs / 1e9:.3f} ({stage.macs / first.macs:.0%})",
        f"{stage.file_bytes / 1e6:.2f} ({stage.file_bytes / first.file_bytes:.0%})",
        *(number(stage.latency_ms.get(name), 1) for name in backends),
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


def _with_interval(stage: Stage) -> str:
    if stage.AP_low is None or stage.AP_high is None:
        return fraction(stage.AP)
    return f"{fraction(stage.AP)} ({stage.AP_low:.3f}-{stage.AP_high:.3f})"


def _difference(stage: Stage, other: str) -> str:
    """AP less that of another stage, with its interval."""
    found = stage.AP_differences.get(other)
    if found is None or found["value"] is None:
        return ""
    if found["low"] is None or found["high"] is None:
        return f"{found['value']:+.4f}"
    return f"{found['value']:+.4f} ({found['low']:+.3f} to {found['high']:+.3f})"


def number(value: float | None, digits: int) -> str:
    """So many digits, or nothing where nothing was measured."""
    return "" if value is None else f"{value:.{digits}f}"


def fraction(value: float | None) -> str:
    """Four digits, or a dash where nothing was measured."""
    return "-" if value is None or value != value else f"{value:.4f}"
