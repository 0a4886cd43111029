"""The frontier to look at: a table, JSON, and AP against what is left of MACs, bytes and time."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tabulate import tabulate

from yolox.compress.frontier import Point
from yolox.compress.report.table import fraction, number
from yolox.compress.stage import CONTROL
from yolox.files import whole_file, write_json

PANEL_INCHES = (4.2, 3.6)
OURS, OTHERS, CONTROL_COLOUR = "#1f5fa8", "#b5532a", "#2a8a4a"


def frontier_table(points: Sequence[Point], others: Sequence[Point] = ()) -> str:
    """A line for each point."""
    runtimes = list(dict.fromkeys(key for point in (*points, *others) for key in point.time))
    rows = [
        [
            point.name,
            fraction(point.AP),
            _interval(point),
            *(f"{share:.1%}" for share in (point.macs, point.params, point.file)),
            *(number(point.time.get(key), 2) for key in runtimes),
        ]
        for point in (*points, *others)
    ]
    heads = ["model", "AP", "95 %", "MACs", "weights", "file", *(f"{k} time" for k in runtimes)]
    return tabulate(rows, headers=heads, tablefmt="github", disable_numparse=True)


def _interval(point: Point) -> str:
    if point.AP_low is None or point.AP_high is None:
        return ""
    return f"{point.AP_low:.3f}-{point.AP_high:.3f}"


def write_frontier(
    out: Path, points: Sequence[Point], others: Sequence[Point], picked: Point | None
) -> None:
    """Write `frontier.json` and `frontier.png` in a folder."""
    content: dict[str, Any] = {
        "points": [asdict(point) for point in points],
        "beside": [asdict(point) for point in others],
        "picked": picked.name if picked is not None else None,
    }
    write_json(out / "frontier.json", content, indent=2)
    if any(point.AP is not None for point in points):
        _draw(out / "frontier.png", points, others, picked)


def _draw(
    path: Path, points: Sequence[Point], others: Sequence[Point], picked: Point | None
) -> None:
    runtimes = list(dict.fromkeys(key for point in points for key in point.time))
    panels = ["MACs", "file", *runtimes]
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width * len(panels), height), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _panel(axes, panel, points, others)
        left = None if picked is None else share_of(picked, panel)
        if picked is not None and left is not None:
            axes.plot([left], [picked.AP], "o", ms=15, mfc="none", mec="black", label="picked")
    figure.axes[0].set_ylabel("AP")
    figure.axes[0].legend(fontsize=8)
    with whole_file(path) as work:
        figure.savefig(work, format="png", dpi=120)


def _panel(axes: Axes, panel: str, points: Sequence[Point], others: Sequence[Point]) -> None:
    title = f"{panel} left" if panel in ("MACs", "file") else f"time in {panel}"
    axes.set_title(f"{title}, share of the dense model's", fontsize=9)
    axes.grid(alpha=0.3)
    control = next((p.AP for p in points if p.name == CONTROL and p.AP is not None), None)
    if control is not None:
        axes.axhline(control, color=CONTROL_COLOUR, ls="--", label="dense, tuned as long")
    _dots(axes, _drawn([p for p in points if p.name != CONTROL], panel), (OURS, "o-", "ours"))
    _dots(axes, _drawn(others, panel), (OTHERS, "s", "others"))


def _drawn(points: Sequence[Point], panel: str) -> list[tuple[float, float, Point]]:
    """Share, AP and point of those that have both."""
    shares = [(share_of(point, panel), point.AP, point) for point in points]
    return [(s, ap, point) for s, ap, point in shares if s is not None and ap is not None]


def _dots(
    axes: Axes, drawn: Sequence[tuple[float, float, Point]], style: tuple[str, str, str]
) -> None:
    """Points with their intervals and names. style: colour, matplotlib's format, label."""
    colour, form, label = style
    if not drawn:
        return
    shares, aps, _ = zip(*drawn, strict=True)
    axes.plot(shares, aps, form, color=colour, label=label)
    for share, ap, point in drawn:
        if point.AP_low is not None and point.AP_high is not None:
            axes.vlines(share, point.AP_low, point.AP_high, color=colour, alpha=0.35)
        place: dict[str, Any] = {"xytext": (4, -11), "textcoords": "offset points", "fontsize": 8}
        axes.annotate(point.name, (share, ap), **place)


def share_of(point: Point, panel: str) -> float | None:
    """What is left of the dense model's MACs, file, or time in a runtime (1 for the dense one)."""
    if panel in ("MACs", "file"):
        return point.macs if panel == "MACs" else point.file
    return point.time.get(panel)
