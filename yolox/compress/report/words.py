"""A compression in plain sentences: what was won, what it cost, what to try if that is too much."""

from collections.abc import Sequence

from yolox.compress.report.measure import ReportRow
from yolox.compress.stage import CONTROL

LITTLE = 0.01  # AP that a smaller model may cost without a word of advice


def plain_words(rows: Sequence[ReportRow], *, tuned: bool) -> list[str]:
    """Two sentences, and advice where it cost more than a little.

    rows: of the report, the dense model first and the result last. tuned: whether the result was.
    """
    words = [_won(rows[0], rows[-1]), _cost(rows)]
    advice = _advice(rows, tuned)
    return [*words, advice] if advice else words


def _won(dense: ReportRow, result: ReportRow) -> str:
    shares = [
        f"{result.macs / dense.macs:.0%} of the MACs",
        f"{result.nonzero_params / dense.nonzero_params:.0%} of the weights",
        f"{result.file_bytes / dense.file_bytes:.0%} of the file",
    ]
    times = [
        f"{dense.latency_ms[name] / result.latency_ms[name]:.2f} times as fast in {name}"
        for name in result.latency_ms
        if name in dense.latency_ms
    ]
    speed = f"; it is {_listed(times)}" if times else ""
    return f"Won: {_listed(shares)} are left{speed}."


def _cost(rows: Sequence[ReportRow]) -> str:
    dense, result = rows[0], rows[-1]
    if result.AP is None or dense.AP is None:
        return "Cost: not measured (AP needs labelled images)."
    against = f"{_apart(result, dense)} the dense model's {dense.AP:.4f}"
    control = _row(rows, CONTROL)
    if control is None or control.AP is None:
        return (
            f"Cost: AP is {result.AP:.4f}, {against}; what the dense model would gain from the "
            "same tuning is not known (--control measures it)."
        )
    return (
        f"Cost: AP is {result.AP:.4f}, {_apart(result, control)} the {control.AP:.4f} of the dense "
        f"model tuned as long{_interval(result, CONTROL)}, and {against}."
    )


def _apart(row: ReportRow, other: ReportRow) -> str:
    assert row.AP is not None
    assert other.AP is not None
    difference = row.AP - other.AP
    return f"{abs(difference):.4f} {'below' if difference < 0 else 'above'}"


def _interval(row: ReportRow, other: str) -> str:
    found = row.AP_differences.get(other)
    if found is None or found["low"] is None or found["high"] is None:
        return ""
    return f" (95 %: {found['low']:+.3f} to {found['high']:+.3f})"


def _advice(rows: Sequence[ReportRow], tuned: bool) -> str:
    """What to try, or nothing where little was lost."""
    result, other = rows[-1], _row(rows, CONTROL) or rows[0]
    if result.AP is None or other.AP is None or other.AP - result.AP <= LITTLE:
        return ""
    if not tuned:
        return "If that is too much: tune it (leave out --no-recover)."
    return (
        "If that is too much: a larger budget (--macs, --params), a longer recovery (max_epoch in "
        "the recipe), or more images to learn from (--pictures DIR: without labels)."
    )


def _row(rows: Sequence[ReportRow], name: str) -> ReportRow | None:
    return next((row for row in rows if row.name == name), None)


def _listed(parts: Sequence[str]) -> str:
    """Parts as a list in a sentence."""
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last
