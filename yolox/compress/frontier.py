"""Several sizes of one model: what each budget costs, in one run that can be resumed.

Each budget is a compression of its own, in a folder of its own, with the same recipe; the control
is made once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from loguru import logger

from yolox.compress.condition import Condition
from yolox.compress.job import CompressionJob
from yolox.compress.recipe import with_overrides
from yolox.compress.report.measure import ReportRow
from yolox.compress.report.read import read_report
from yolox.compress.run import compress
from yolox.compress.stage import CONTROL, DENSE
from yolox.engine.records import REPORT
from yolox.errors import DataError, UsageError, YoloxError


@dataclass(frozen=True)
class Point:
    """A model of the frontier. AP and its 95 % interval: fractions, None where not measured.

    params, macs, file: shares of the dense model's. time: likewise, by runtime.
    folder: of its compression.
    """

    name: str
    AP: float | None
    AP_low: float | None
    AP_high: float | None
    params: float
    macs: float
    file: float
    time: Mapping[str, float] = field(default_factory=dict)
    folder: str = ""

    @classmethod
    def of(cls, name: str, row: ReportRow, dense: ReportRow, folder: Path) -> "Point":
        """A row of a report beside its dense one."""
        both = [key for key in row.latency_ms if key in dense.latency_ms]
        return cls(
            name,
            row.AP,
            row.AP_low,
            row.AP_high,
            row.nonzero_params / dense.nonzero_params,
            row.macs / dense.macs,
            row.file_bytes / dense.file_bytes,
            {key: row.latency_ms[key] / dense.latency_ms[key] for key in both},
            str(folder),
        )


def frontier(job: CompressionJob, budget: str, shares: Sequence[float]) -> list[Point]:
    """Compress to each share of a budget, the largest first: the dense model, the control where
    the job asks for it, and a point for each share. Raises YoloxError.
    """
    points: list[Point] = []
    for number, share in enumerate(sorted(set(shares), reverse=True)):
        name = f"{budget} {share:g}"
        logger.info("frontier: {}", name)
        part = replace(
            job,
            out=job.out / f"{budget}_{share:g}",
            recipe=with_overrides(job.recipe, None, {budget: share}, True),
            control=job.control and number == 0,
        )
        rows = compress(part)
        if number == 0:
            firsts = [row for row in rows if row.name in (DENSE, CONTROL)]
            points += [Point.of(row.name, row, rows[0], part.out) for row in firsts]
        points.append(Point.of(name, rows[-1], rows[0], part.out))
    return points


def pick(points: Sequence[Point], condition: Condition) -> Point:
    """The point with the fewest MACs of which it holds. Raises YoloxError where there is none."""
    least = condition.factor
    if condition.reference is not None:
        named = next((p for p in points if p.name == condition.reference), None)
        least *= _ap(named, condition)
    compressed = [p for p in points if p.name not in (DENSE, CONTROL)]
    holding = [p for p in compressed if _ap(p, condition) >= least]
    if not holding:
        raise YoloxError(f"--pick {condition.text}: no model of the frontier has AP {least:.4f}")
    return min(holding, key=lambda point: (point.macs, point.file))


def _ap(point: Point | None, condition: Condition) -> float:
    if point is None or point.AP is None:
        who = condition.reference if point is None else point.name
        raise UsageError(f"--pick {condition.text}: the AP of {who} was not measured")
    return point.AP


def beside(pairs: Sequence[str]) -> list[Point]:
    """Results of others, NAME=REPORT.json: the last row of each. Raises UsageError, DataError."""
    points = []
    for pair in pairs:
        name, mark, path = pair.partition("=")
        if not (name and mark and path):
            raise UsageError(f"--beside {pair!r} is not NAME=REPORT.json")
        points.append(_last_point(name, Path(path)))
    return points


def _last_point(name: str, path: Path) -> Point:
    file = path / REPORT if path.is_dir() else path
    rows = read_report(file).rows
    if not rows:
        raise DataError(f"{file} is not a compression report: it has no stages")
    return Point.of(name, rows[-1], rows[0], file.parent)
