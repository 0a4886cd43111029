"""Interleaved rounds: the cases of one batch and size take turns, so that their ratios are fair.

More cases than can stand in memory at once are split; the first case is part of every split, and
ratios are to its figures there.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Any

import numpy as np
from loguru import logger
from tqdm import tqdm

from yolox.benchmark.cases import BenchmarkSpec, Case
from yolox.benchmark.worker import Order, Worker
from yolox.errors import YoloxError
from yolox.eval.evaluate import without_nan
from yolox.families import FAMILIES, spec_to_dict

FEWEST_ROUNDS = 3  # of a measurement that is reported, interrupted or out of time


@dataclass
class Row:
    """A measured case. latency_ms: median per batch; spread: the quartiles' distance, in ms.

    ratio: to the first case of the same batch and size, in its own rounds; ratio_in_model: to the
    first case of the same model. peak_mb: of the whole process. error: why there are no figures.
    """

    case: Case
    threads: int
    device: str = "cpu"
    latency_ms: float = math.nan
    spread: float = math.nan
    ratio: float = math.nan
    ratio_in_model: float = math.nan
    peak_mb: float = math.nan
    rounds: int = 0
    ap: float | None = None
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Stable keys; undefined values are None."""
        case = self.case
        values = {
            "model": case.model.name,
            "backend": case.backend,
            "precision": case.precision,
            "batch": case.batch,
            "size": list(case.model.size_hw),
            "threads": self.threads,
            "device": self.device,
            "latency_ms": self.latency_ms,
            "spread": self.spread,
            "ratio": self.ratio,
            "ratio_in_model": self.ratio_in_model,
            "peak_mb": self.peak_mb,
            "file_bytes": case.file_bytes,
            "params": case.size.params,
            "nonzero_params": case.size.nonzero,
            "macs": case.size.macs,
            "AP": self.ap,
            "rounds": self.rounds,
            "error": self.error,
        }
        cleaned: dict[str, Any] = without_nan(values)
        return cleaned


def splits(cases: Sequence[Case], at_once: int) -> list[list[Case]]:
    """Cases that run together: of one batch and size, at most `at_once`, each with the first one.

    at_once: at least 2.
    """
    groups: dict[tuple[Any, ...], list[Case]] = defaultdict(list)
    for case in cases:
        groups[(case.batch, case.model.size_hw)].append(case)
    found = []
    for group in groups.values():
        first, *others = group
        step = max(at_once - 1, 1)
        parts = [others[start : start + step] for start in range(0, len(others), step)] or [[]]
        found += [[first, *part] for part in parts]
    return found


def measure(
    cases: Sequence[Case], plan: BenchmarkSpec, device: str, at_once: int
) -> Iterator[list[Row]]:
    """Rows of one split after the other; the first case is in the first of its splits only.

    On Ctrl-C the rows of the split at hand come with the rounds they have, then KeyboardInterrupt.
    """
    seen: set[Case] = set()
    base: dict[tuple[Any, ...], float] = {}
    for split in splits(cases, at_once):
        rows, interrupted = _measure_split(split, plan, device)
        first = rows[0].latency_ms
        for row in rows:
            row.ratio = row.latency_ms / first
            if not math.isnan(row.ratio):
                first_of_model = base.setdefault((row.case.model, row.case.batch), row.ratio)
                row.ratio_in_model = row.ratio / first_of_model
        yield [row for row in rows if row.case not in seen]
        seen.update(split)
        if interrupted:
            raise KeyboardInterrupt


def _measure_split(
    split: Sequence[Case], plan: BenchmarkSpec, device: str
) -> tuple[list[Row], bool]:
    rows = [Row(case, plan.threads, _device(case, device)) for case in split]
    workers: dict[int, Worker] = {}
    spent: dict[int, list[list[float]]] = {number: [] for number in range(len(rows))}
    interrupted = False
    try:
        for number, case in enumerate(split):
            logger.info("opening {}", case.title)
            workers[number] = Worker(order_of(case, plan, device))
        _keep_able(workers, rows, lambda number: workers[number].wait())
        end = monotonic() + plan.seconds
        for done in tqdm(range(plan.rounds), desc="rounds", disable=None):
            if done >= FEWEST_ROUNDS and monotonic() > end:
                break
            _keep_able(workers, rows, lambda n: _turn(rows[n], workers[n], spent[n], plan.turn_ms))
    except KeyboardInterrupt:
        interrupted = True
    finally:
        for worker in workers.values():
            worker.stop()
        for worker in workers.values():
            worker.close()
    for number, row in enumerate(rows):
        _summarise(row, spent[number])
    return rows, interrupted


def _keep_able(workers: dict[int, Worker], rows: Sequence[Row], work: Callable[[int], Any]) -> None:
    """Do the work for each worker in turn; those that fail leave."""
    for number in list(workers):
        if not _guard(rows[number], partial(work, number)):
            del workers[number]


def _device(case: Case, device: str) -> str:
    """Only torch computes elsewhere than on the CPU here."""
    return device if case.backend in ("torch", "compile") else "cpu"


def order_of(case: Case, plan: BenchmarkSpec, device: str) -> Order:
    """What a worker needs to know of a case."""
    model = case.model
    order = Order(
        case.file, case.backend, case.precision, case.batch, model.size_hw, plan.threads, device
    )
    if not model.own:
        return replace(order, info=model.info)
    if model.exp is None:
        return order
    spec = model.exp.detector_spec()
    exp_file = None if spec.family in FAMILIES else model.exp._file
    return replace(order, spec=spec_to_dict(spec), exp_file=exp_file)


def _guard(row: Row, work: Callable[[], Any]) -> bool:
    """Whether it went well. A case that fails is a row that says why; the others go on."""
    try:
        work()
    except YoloxError as error:
        row.error = str(error).strip().splitlines()[-1]
        logger.warning("{}: {}", row.case.title, error)
        return False
    return True


def _turn(row: Row, worker: Worker, spent: list[list[float]], turn_ms: float) -> None:
    count = 1
    if spent:
        count = max(1, int(turn_ms / statistics.median(spent[-1])))
    found, row.peak_mb = worker.time_ms(count)
    spent.append(found)


def _summarise(row: Row, spent: list[list[float]]) -> None:
    if len(spent) < FEWEST_ROUNDS and row.error is None:
        row.error = "interrupted"
        return
    if row.error is None:
        medians = np.array([statistics.median(turn) for turn in spent])
        low, high = np.percentile(medians, [25, 75])
        row.latency_ms, row.spread = float(np.median(medians)), float(high - low)
        row.rounds = len(spent)
