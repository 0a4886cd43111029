"""What was measured, as a table, as JSON and as a picture."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from tabulate import tabulate

from yolox.benchmark.rounds import Row
from yolox.files import write_json

HEADERS = [
    "model",
    "backend",
    "precision",
    "batch",
    "size",
    "ms",
    "spread",
    "ratio",
    "in model",
    "images/s",
    "peak MB",
    "file MB",
    "params M",
    "not zero M",
    "GMACs",
    "AP",
]
LARGEST_AREA = 900.0  # of the biggest model's circle, in points squared


def table(rows: Sequence[Row]) -> str:
    """One line per row; rows that failed say why below the table."""
    lines = [_line(row) for row in rows if row.error is None]
    text = tabulate(lines, headers=HEADERS, tablefmt="github", disable_numparse=True)
    failed = [f"not measured: {row.case.title}: {row.error}" for row in rows if row.error]
    return "\n".join([text, *failed])


def _line(row: Row) -> list[str]:
    case, (height, width) = row.case, row.case.model.size_hw
    return [
        case.model.name,
        case.backend,
        case.precision,
        str(case.batch),
        f"{height}x{width}",
        f"{row.latency_ms:.1f}",
        f"{row.spread:.1f}",
        f"{row.ratio:.2f}",
        f"{row.ratio_in_model:.2f}",
        f"{case.batch * 1000 / row.latency_ms:.1f}",
        f"{row.peak_mb:.0f}",
        f"{case.file_bytes / 1e6:.2f}",
        f"{case.size.params / 1e6:.3f}",
        f"{case.size.nonzero / 1e6:.3f}",
        _number(case.size.macs / 1e9, 3),
        _number(row.ap, 4),
    ]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """The rows as a JSON list, written whole."""
    write_json(path, [row.as_json() for row in rows], indent=2)


def pareto(path: Path, rows: Sequence[Row]) -> bool:
    """AP against latency at the smallest batch measured, area by parameters; False without AP.

    The line joins what nothing else beats in both.
    """
    shown = [row for row in rows if row.ap is not None and row.error is None]
    if not shown:
        return False
    smallest = min(row.case.batch for row in shown)
    shown = sorted(
        (row for row in shown if row.case.batch == smallest), key=lambda row: row.latency_ms
    )
    most = max(row.case.size.params for row in shown)
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row.case.model.name for row in shown):
        own = [row for row in shown if row.case.model.name == name]
        axes.scatter(
            [row.latency_ms for row in own],
            [float(row.ap or 0) for row in own],
            [max(LARGEST_AREA * row.case.size.params / most, 20.0) for row in own],
            alpha=0.45,
            label=f"{name} ({own[0].case.size.params / 1e6:.2f} M)",
        )
    for row in shown:
        label = f"{row.case.backend} {row.case.precision}"
        axes.annotate(
            label,
            (row.latency_ms, float(row.ap or 0)),
            fontsize=8,
            xytext=(4, 4),
            textcoords="offset points",
        )
    front = frontier(shown)
    axes.plot(
        [r.latency_ms for r in front], [float(r.ap or 0) for r in front], "k--", lw=0.8, zorder=0
    )
    axes.set(
        xscale="log",
        xlabel=f"ms per batch of {smallest} (log), {shown[0].threads} threads",
        ylabel="COCO AP",
        title="Accuracy against latency; area: parameters",
    )
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(ScalarFormatter())
    axes.margins(0.12)
    axes.grid(visible=True, alpha=0.3)
    legend = axes.legend(loc="best", fontsize=8)
    for handle in legend.legend_handles:
        handle.set_sizes([60])  # type: ignore[union-attr]
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return True


def frontier(rows: Sequence[Row]) -> list[Row]:
    """Rows that no other beats in latency and AP. rows: quickest first."""
    front: list[Row] = []
    for row in rows:
        if not front or (row.ap or 0) > (front[-1].ap or 0):
            front.append(row)
    return front
