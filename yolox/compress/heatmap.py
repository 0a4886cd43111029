"""Sensitivity curves to look at: a table, a CSV file and a heat-map."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from tabulate import tabulate

from yolox.compress.importance.curves import Curve, removed_counts
from yolox.files import write_text

ROW_INCHES, EDGES_INCHES = 0.17, 1.6  # height of a group, and of title and axis
DECADES = 4  # that the colours span at most
SMALLEST = 1e-12  # that is shown, where nothing was lost
MARKED = 5  # the most sensitive groups


def losses_at(curve: Curve, ratios: Sequence[float]) -> list[float]:
    """The measured loss for each share of units gone."""
    measured = dict(zip(curve.units, curve.losses, strict=True))
    return [measured[removed_counts(curve.size, [ratio])[0]] for ratio in ratios]


def sensitivity_table(curves: Mapping[str, Curve], ratios: Sequence[float]) -> str:
    """Groups by their mean loss, the most sensitive first; the first few are marked."""
    rows = {name: losses_at(curve, ratios) for name, curve in curves.items()}
    order = sorted(rows, key=lambda name: -sum(rows[name]))
    lines = [
        ["*" if place < MARKED else "", name, curves[name].size, *rows[name]]
        for place, name in enumerate(order)
    ]
    headers = ["", "group", "units", *(f"-{ratio:.1%}" for ratio in ratios)]
    return tabulate(lines, headers=headers, tablefmt="github", floatfmt=".4g")


def write_csv(path: Path, curves: Mapping[str, Curve], ratios: Sequence[float]) -> None:
    """One line per group in forward order: its name, its units, the loss at each ratio."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["group", "units", *ratios])
    for name, curve in curves.items():
        writer.writerow([name, curve.size, *losses_at(curve, ratios)])
    write_text(path, text.getvalue())


def write_heatmap(
    path: Path, curves: Mapping[str, Curve], ratios: Sequence[float], metric: str
) -> None:
    """Groups from the image (top) to the outputs, ratios from left to right, colours in log.

    metric: what the colour bar says. Losses of nothing or less have the colour of the smallest.
    """
    values = np.array([losses_at(curve, ratios) for curve in curves.values()])
    highest = max(float(values.max()), SMALLEST)
    lowest = max(float(values[values > 0].min(initial=highest)), highest / 10**DECADES)
    lowest = min(lowest, highest / 2)  # where all are alike
    figure = Figure(figsize=(8, EDGES_INCHES + ROW_INCHES * len(values)), layout="constrained")
    axes = figure.subplots()
    scale = LogNorm(lowest, highest)
    picture = axes.imshow(values.clip(lowest), norm=scale, aspect="auto", cmap="viridis")
    for (row, column), value in np.ndenumerate(values):
        dark = scale(max(value, lowest)) < 0.6
        axes.text(
            column,
            row,
            f"{value:.2g}",
            ha="center",
            va="center",
            fontsize=7,
            color="white" if dark else "black",
        )
    axes.set_yticks(
        range(len(values)), [f"{_short(n)} ({c.size})" for n, c in curves.items()], fontsize=8
    )
    axes.set_xticks(range(len(ratios)), [f"{ratio:.1%}" for ratio in ratios])
    axes.xaxis.set_ticks_position("both")
    axes.tick_params(labeltop=True)
    axes.set_xlabel("share of the group's units removed; what reads them is solved anew")
    axes.set_title("Sensitivity of channel groups (units), one group cut at a time")
    figure.colorbar(picture, label=f"{metric} (log)", aspect=50, pad=0.02)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _short(name: str) -> str:
    """A module's path without what all of them have."""
    parts = [part for part in name.split(".") if part not in ("conv", "pconv")]
    if len(parts) > 2 and parts[0] == parts[1]:
        parts = parts[1:]
    return ".".join(parts) or name
