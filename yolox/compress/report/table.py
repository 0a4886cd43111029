"""The report of a compression run: a table for people, JSON for programs."""

import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tabulate import tabulate

import yolox
from yolox.compress.report.measure import ReportRow
from yolox.compress.stage import CONTROL, DENSE


def report_table(rows: Sequence[ReportRow], chosen_on: str | None = None) -> str:
    """One line per checkpoint, with shares of the first one, and notes.

    chosen_on: on which images epochs and parts were chosen, in words.
    """
    headers, cells = table_cells(rows)
    table = tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)
    return "\n".join([table, *table_notes(rows, chosen_on)])


def table_notes(rows: Sequence[ReportRow], chosen_on: str | None = None) -> list[str]:
    """What must be known to read the table right, one sentence each."""
    notes = [f"{row.name}: {row.note}." for row in rows if row.note]
    return [*notes, *([chosen_on] if chosen_on else [])]


def table_cells(rows: Sequence[ReportRow]) -> tuple[list[str], list[list[str]]]:
    """The same as text: the head and the lines."""
    backends = list(dict.fromkeys(name for row in rows for name in row.latency_ms))
    compared = next((name for name in (CONTROL, DENSE) if _has_difference(rows, name)), None)
    head = [
        "stage",
        "made from",
        "AP (95 %)",
        *([f"AP - {compared} (95 %)"] if compared else []),
        "AP50",
        "params M",
        "not zero M",
        "GMACs",
        "file MB",
        *(f"{name} ms" for name in backends),
    ]
    return head, [_cells(row, rows[0], backends, compared) for row in rows]


def _has_difference(rows: Sequence[ReportRow], name: str) -> bool:
    return any(name in row.AP_differences for row in rows)


def _cells(
    row: ReportRow, first: ReportRow, backends: Sequence[str], compared: str | None
) -> list[str]:
    return [
        row.name,
        row.made_from or "",
        _with_interval(row),
        *([_difference(row, compared)] if compared else []),
        fraction(row.AP50),
        f"{row.params / 1e6:.3f} ({row.params / first.params:.0%})",
        f"{row.nonzero_params / 1e6:.3f} ({row.nonzero_params / first.nonzero_params:.0%})",
        f"{row.macs / 1e9:.3f} ({row.macs / first.macs:.0%})",
        f"{row.file_bytes / 1e6:.2f} ({row.file_bytes / first.file_bytes:.0%})",
        *(number(row.latency_ms.get(name), 1) for name in backends),
    ]


def report_content(rows: Sequence[ReportRow], facts: Mapping[str, Any]) -> dict[str, Any]:
    """`report.json`: the rows in order, the dense model first, and how they were made."""
    return {
        "stages": [row.as_json() for row in rows],
        "command": sys.argv,
        "versions": {
            "yolox": yolox.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        **facts,
    }


def _with_interval(row: ReportRow) -> str:
    if row.AP_low is None or row.AP_high is None:
        return fraction(row.AP)
    return f"{fraction(row.AP)} ({row.AP_low:.3f}-{row.AP_high:.3f})"


def _difference(row: ReportRow, other: str) -> str:
    """AP less that of another row, with its interval."""
    found = row.AP_differences.get(other)
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
