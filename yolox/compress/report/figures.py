"""The pictures of a report: AP by stage, AP against what is left, and which classes pay."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from yolox.compress.report.measure import ReportRow
from yolox.compress.stage import CONTROL, DENSE, INT8

BLUE, GREY, GREEN, RED = "#2f6fde", "#8b95a5", "#2a8a4a", "#b5532a"
ADAPTED = "adapted"
MOST_CLASSES = 24  # that are drawn: those that change most


def stages_figure(rows: Sequence[ReportRow]) -> Figure | None:
    """AP of every row with its interval, and its differences from the dense model and the control.

    None where AP was not measured.
    """
    drawn = [row for row in rows if row.AP is not None]
    if not drawn:
        return None
    compared = [name for name in (DENSE, CONTROL) if any(name in r.AP_differences for r in drawn)]
    figure = Figure(
        figsize=(4.2 * (1 + len(compared)), 0.8 + 0.42 * len(drawn)), layout="constrained"
    )
    panels = figure.subplots(1, 1 + len(compared), sharey=True, squeeze=False)[0]
    places = range(len(drawn))
    panels[0].set_yticks(places, [row.name for row in drawn])
    panels[0].invert_yaxis()
    panels[0].barh(places, [row.AP or 0.0 for row in drawn], color=[_colour(row) for row in drawn])
    for place, row in zip(places, drawn, strict=True):
        if row.AP_low is not None and row.AP_high is not None:
            panels[0].hlines(place, row.AP_low, row.AP_high, color="black", lw=1)
    panels[0].set_title("AP and its 95 % interval", fontsize=10)
    for axes, name in zip(panels[1:], compared, strict=True):
        axes.axvline(0, color="black", lw=0.8)
        for place, row in zip(places, drawn, strict=True):
            found = row.AP_differences.get(name)
            if found is None or found["value"] is None:
                continue
            axes.plot([found["value"]], [place], "o", color=_colour(row))
            if found["low"] is not None and found["high"] is not None:
                axes.hlines(place, found["low"], found["high"], color=_colour(row))
        title = "the dense model" if name == DENSE else "the dense model tuned as long"
        axes.set_title(f"AP less that of {title}", fontsize=10)
        axes.grid(axis="x", alpha=0.3)
    return figure


def _colour(row: ReportRow) -> str:
    return {DENSE: GREY, CONTROL: GREEN}.get(row.name, BLUE)


def tradeoff_figure(rows: Sequence[ReportRow]) -> Figure | None:
    """AP against MACs, weights that are not zero, bytes, and time. None without AP.

    Of the dense model, the control, the model before any tuning, and the result (of an INT8 file
    its float model, too).
    """
    last = rows[-1]
    named = {DENSE, CONTROL, ADAPTED, last.name, last.made_from if last.name == INT8 else DENSE}
    drawn = [row for row in rows if row.AP is not None and row.name in named]
    if not drawn:
        return None
    first = rows[0]
    shares: dict[str, list[float | None]] = {
        "MACs": [row.macs / first.macs for row in drawn],
        "weights": [row.nonzero_params / first.nonzero_params for row in drawn],
        "file": [row.file_bytes / first.file_bytes for row in drawn],
    }
    for key, before in first.latency_ms.items():
        times = [row.latency_ms.get(key) for row in drawn]
        shares[f"time in {key}"] = [None if ms is None else ms / before for ms in times]
    figure = Figure(figsize=(3.3 * len(shares), 3.1), layout="constrained")
    panels = figure.subplots(1, len(shares), sharey=True, squeeze=False)[0]
    for axes, (title, values) in zip(panels, shares.items(), strict=True):
        for value, row in zip(values, drawn, strict=True):
            if value is None:
                continue
            axes.plot([value], [row.AP], "o", color=_colour(row))
            axes.annotate(
                row.name,
                (value, row.AP or 0.0),
                xytext=(4, 4),
                textcoords="offset points",
                fontsize=8,
            )
        axes.set_title(title, fontsize=10)
        axes.margins(x=0.3, y=0.15)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("AP")
    figure.supxlabel("share of the dense model's", fontsize=10)
    return figure


def class_changes(rows: Sequence[ReportRow]) -> tuple[str, dict[str, float]]:
    """AP of each class of the last row less that of the control, or else of the dense model.

    The name of what it is compared with, and the changes, the largest loss first; classes without
    an AP are left out.
    """
    other = next((row for row in rows if row.name == CONTROL and row.AP_by_class), rows[0])
    after = rows[-1].AP_by_class
    changes = {
        name: after_ap - before
        for name, before in other.AP_by_class.items()
        if before is not None and (after_ap := after.get(name)) is not None
    }
    return other.name, dict(sorted(changes.items(), key=lambda item: item[1]))


def classes_figure(rows: Sequence[ReportRow]) -> Figure | None:
    """Which classes pay. None where no class was measured."""
    other, changes = class_changes(rows)
    if not changes:
        return None
    most = sorted(changes, key=lambda name: -abs(changes[name]))[:MOST_CLASSES]
    shown = {name: value for name, value in changes.items() if name in most}
    figure = Figure(figsize=(7, 0.8 + 0.24 * len(shown)), layout="constrained")
    axes = figure.subplots()
    colours = [RED if value < 0 else BLUE for value in shown.values()]
    axes.barh(list(shown), list(shown.values()), color=colours)
    axes.invert_yaxis()
    axes.axvline(0, color="black", lw=0.8)
    few = f", the {len(shown)} that change most" if len(shown) < len(changes) else ""
    axes.set_title(f"AP by class less that of {other}{few}", fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    return figure
