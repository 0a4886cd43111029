"""The pictures, drawn with matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from yolox.eval.report.curves import CONFIDENCES, ScoreCurves
from yolox.eval.report.errors import Errors

MOST_CLASSES = 30  # in the confusion matrix: those with the most objects
NAMED = 10  # classes in a legend
WRITTEN = 12  # classes up to which numbers stand in the cells
DPI = 110


def confusion_figure(errors: Errors) -> Figure:
    """Objects by row, what they were detected as by column, as shares of the row."""
    shown = _most_frequent(errors)
    background = len(errors.names)
    order = [*shown, background]
    counts = errors.matrix[np.ix_(order, order)]
    shares = counts / np.maximum(errors.matrix[order].sum(axis=1, keepdims=True), 1)
    shares[-1] = counts[-1] / max(counts[-1].sum(), 1)
    side = 3.2 + 0.34 * len(order)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    names = [*(errors.names[label] for label in shown), "(nothing)"]
    axes.set_xticks(range(len(order)), names, rotation=90)
    axes.set_yticks(range(len(order)), names)
    axes.set_xlabel("detected as")
    axes.set_ylabel("object")
    if len(order) <= WRITTEN + 1:
        for row, column in np.ndindex(*counts.shape):
            if counts[row, column]:
                ink = "white" if shares[row, column] > 0.55 else "black"
                text = str(counts[row, column])
                axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=9)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the row")
    if len(shown) < len(errors.names):
        axes.set_title(f"the {len(shown)} classes with the most objects", fontsize=10)
    return figure


def _most_frequent(errors: Errors) -> list[int]:
    """Class indices in their order: all, or those with the most objects."""
    totals = errors.matrix[:-1].sum(axis=1)
    most = np.argsort(-totals, kind="stable")[:MOST_CLASSES]
    return sorted(int(label) for label in most)


def curves_figure(curves: Mapping[str, ScoreCurves]) -> Figure:
    """Precision against recall, and precision, recall and F1 against confidence."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    ((recall_axes, f1_axes), (precision_axes, r_axes)) = figure.subplots(2, 2)
    named = sorted(curves, key=lambda name: -curves[name].boxes)[:NAMED]
    for name, curve in curves.items():
        style = {"linewidth": 1.4} if name in named else {"linewidth": 0.6, "color": "#c8ccd4"}
        label = name if name in named else None
        drawn = curve.recall > 0
        recall_axes.plot(curve.recall[drawn], curve.precision[drawn], label=label, **style)
        f1_axes.plot(CONFIDENCES, curve.f1, **style)
        precision_axes.plot(CONFIDENCES, curve.precision, **style)
        r_axes.plot(CONFIDENCES, curve.recall, **style)
    mean_style = {"color": "black", "linewidth": 2.4}
    for axes, key in ((f1_axes, "f1"), (precision_axes, "precision"), (r_axes, "recall")):
        mean = np.mean([getattr(curve, key) for curve in curves.values()], axis=0)
        axes.plot(CONFIDENCES, mean, label="mean of classes", **mean_style)
        _set_labels(axes, "confidence", "F1" if key == "f1" else key)
        axes.legend(fontsize=8)
    _set_labels(recall_axes, "recall", "precision")
    recall_axes.legend(fontsize=8, title=None if len(named) == len(curves) else "most objects")
    return figure


def _set_labels(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.grid(color="#e3e6ec")


def save_figures(figures: Mapping[str, Figure], folder: Path) -> Sequence[Path]:
    """Write NAME.png of each. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=DPI)
    return paths
