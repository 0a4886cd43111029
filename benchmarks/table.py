"""The rows of `make bench`: what a step takes here, beside official YOLOX and the goal."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tabulate import tabulate

HEADERS = ("step", "unit", "ours", "official", "ratio", "goal", "met", "limit")


@dataclass(frozen=True)
class Row:
    """One step.

    goal: of ours / official, or of ours alone where there is no official figure. more: more is
    better. limit: what this machine allows, in the same unit.
    """

    step: str
    unit: str
    ours: float
    official: float | None = None
    goal: float | None = None
    limit: float | None = None
    more: bool = False

    @property
    def ratio(self) -> float | None:
        """Ours to official."""
        return None if self.official is None else self.ours / self.official

    @property
    def met(self) -> str:
        """Whether the goal is reached, in a word."""
        value = self.ours if self.official is None else self.ratio
        if self.goal is None:
            return ""
        return "yes" if (value >= self.goal if self.more else value <= self.goal) else "no"


def table(rows: Iterable[Row]) -> str:
    """All rows as a table."""
    cells = [
        (
            r.step,
            r.unit,
            *map(_number, (r.ours, r.official, r.ratio)),
            _goal(r),
            r.met,
            _number(r.limit),
        )
        for r in rows
    ]
    return tabulate(cells, HEADERS, tablefmt="github", disable_numparse=True)


def show(rows: Iterator[Row]) -> list[Row]:
    """Print rows as they are measured; returns them."""
    found = []
    for row in rows:
        found.append(row)
        print(table([row]).splitlines()[-1], flush=True)
    return found


def _goal(row: Row) -> str:
    return "" if row.goal is None else f"{'>=' if row.more else '<='} {row.goal:g}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"
