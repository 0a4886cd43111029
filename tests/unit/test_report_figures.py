"""The pictures of a compression's report."""

import pytest

from yolox.compress.report.figures import (
    MOST_CLASSES,
    class_changes,
    classes_figure,
    stages_figure,
    tradeoff_figure,
)
from yolox.compress.report.measure import ReportRow


def row(name, ap, macs=1e9, **more):
    return ReportRow(name, ap, ap, 1000, 1000, macs, 4000, **more)


@pytest.fixture
def rows():
    """A dense model, a control, and a result that is worse than both at one class."""
    return [
        row("dense", 0.40, latency_ms={"torch": 8.0}, AP_by_class={"a": 0.3, "b": 0.5, "c": None}),
        row("control", 0.42, AP_by_class={"a": 0.4, "b": 0.44, "c": None}),
        row(
            "merged",
            0.38,
            5e8,
            latency_ms={"torch": 4.0},
            AP_differences={
                "dense": {"value": -0.02, "low": -0.03, "high": None},
                "control": {"value": -0.04, "low": -0.05, "high": -0.01},
            },
            AP_by_class={"a": 0.2, "b": 0.56, "c": 0.1},
        ),
    ]


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def test_classes_are_compared_with_the_control_the_largest_loss_first(rows):
    other, changes = class_changes(rows)
    assert other == "control"
    assert list(changes) == ["a", "b"]
    assert changes == {"a": pytest.approx(-0.2), "b": pytest.approx(0.12)}
    other, changes = class_changes([rows[0], rows[2]])
    assert (other, changes["a"]) == ("dense", pytest.approx(-0.1))
    assert titles(classes_figure(rows)) == ["AP by class less that of control"]


def test_many_classes_are_cut_to_those_that_change_most(rows):
    count = MOST_CLASSES + 5
    rows[1].AP_by_class = {f"class {n}": 0.5 for n in range(count)}
    rows[2].AP_by_class = {f"class {n}": 0.5 - 0.01 * n for n in range(count)}
    figure = classes_figure(rows)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(labels) == MOST_CLASSES
    assert labels[0] == f"class {count - 1}"
    assert "class 4" not in labels


def test_stages_and_what_they_are_compared_with(rows):
    figure = stages_figure(rows)
    assert titles(figure) == [
        "AP and its 95 % interval",
        "AP less that of the dense model",
        "AP less that of the dense model tuned as long",
    ]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == [r.name for r in rows]
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == [r.AP for r in rows]


def test_shares_of_the_dense_model(rows):
    figure = tradeoff_figure(rows)
    assert len(figure.axes) == 4
    by_title = {axes.get_title(): axes for axes in figure.axes}
    macs = [float(line.get_xdata()[0]) for line in by_title["MACs"].lines]
    assert macs == [1.0, 1.0, 0.5]
    assert [float(line.get_xdata()[0]) for line in by_title["time in torch"].lines] == [1.0, 0.5]


def test_without_ap_there_is_nothing_to_draw():
    rows = [row("dense", None), row("merged", None)]
    assert [stages_figure(rows), tradeoff_figure(rows), classes_figure(rows)] == [None] * 3
