"""What compression made of the model: accuracy, size and speed of every artefact, measured here."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from yolox.backends import Backend, TorchBackend
from yolox.compress.report.speed import measure_speed
from yolox.compress.stage import CONTROL, DENSE, Artefact, Artefacts
from yolox.config import from_dict
from yolox.data.annotations import load_json
from yolox.engine import checkpoint
from yolox.engine.restore import restore_content
from yolox.errors import UsageError
from yolox.eval.evaluate import evaluate_alone, without_nan
from yolox.eval.intervals import ap_interval, paired_difference
from yolox.eval.matches import ImageMatches, match
from yolox.exp import BaseExp
from yolox.export.open import Runtime, file_bytes, is_exported, model_info, open_file
from yolox.models.complexity import complexity
from yolox.models.fuse import fuse
from yolox.values import shown


@dataclass
class ReportRow:
    """One row of the report, one model. AP and AP50 are fractions, None where not evaluated.

    made_from: the row whose weights it took up, None for the dense model.

    AP_low, AP_high: 95 % interval of AP on any number of such images; AP may lie outside.
    AP_differences: this AP less that of another row, on the same images, by that row's name:
        `value`, and `low` and `high` of its 95 % interval. Others are the dense model, the control
        and `made_from`.
    params, nonzero_params and macs are those of the model as it is deployed: batch norm fused.
    file_bytes: weights and masks alone, without training state. An exported file has the counts of
        the model that it was made from.
    latency_ms: milliseconds at batch 1 by backend; latency_ms_batch8: per batch of 8. Backends
        other than torch, and batch 8, are measured for the dense and the merged model only, and an
        exported file in its own; rows of the same shapes as what they were made from are not
        measured again.
    peak_mb: MiB at most in memory of the process that runs batch 1, by backend; Python and the
        runtime are part of it.
    AP_by_class: AP by class, None for a class without objects.
    note: what was kept of several models, and whether the last row was not made from this one.
    """

    name: str
    AP: float | None
    AP50: float | None
    params: int
    nonzero_params: int
    macs: float
    file_bytes: int
    made_from: str | None = None
    AP_low: float | None = None
    AP_high: float | None = None
    AP_differences: dict[str, dict[str, float | None]] = field(default_factory=dict)
    latency_ms: dict[str, float] = field(default_factory=dict)
    latency_ms_batch8: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)
    AP_by_class: dict[str, float | None] = field(default_factory=dict)
    note: str = ""

    @classmethod
    def from_json(cls, row: Any, where: str) -> "ReportRow":
        """A row of `report.json`. Raises UsageError naming `where` and the key."""
        if not isinstance(row, dict):
            raise UsageError(f"{where} {shown(row)} is no row of a table")
        found: ReportRow = from_dict(cls, row, where)
        for key in ("params", "nonzero_params", "macs", "file_bytes"):
            if getattr(found, key) <= 0:
                raise UsageError(f"{where}: {key} {shown(getattr(found, key))} is not above 0")
        for name, difference in found.AP_differences.items():
            if missing := {"value", "low", "high"} - difference.keys():
                raise UsageError(f"{where}: AP_differences.{name} has no {min(missing)}")
        return found

    def as_json(self) -> dict[str, Any]:
        """The row of `report.json`."""
        cleaned: dict[str, Any] = without_nan(vars(self))
        return cleaned


@dataclass(frozen=True)
class MeasureSpec:
    """On which device and with which backends, and whether AP is measured.

    resamples: random parts of the images of which intervals of AP are made (0: no intervals).
    """

    device: torch.device
    backends: Sequence[str] = ("torch",)
    evaluated: bool = True
    resamples: int = 200


def measure_models(
    found: Artefacts, exp: BaseExp, how: MeasureSpec
) -> tuple[list[ReportRow], tuple[Backend, Backend]]:
    """Measure models, the dense one first. Latency is taken in turns: its ratios are fair.

    Returns their rows, and what computes the first and the last one's predictions.
    """
    rows: list[ReportRow] = []
    first: Backend | None = None
    matches: dict[str, ImageMatches] = {}
    for name, artefact in found.items():
        if is_exported(artefact.path):
            row, backend = _exported(name, artefact, rows)
        else:
            row, backend = _checkpoint(name, artefact, exp, how.device)
        first = first or backend
        if how.evaluated:
            matches[name] = _measure_accuracy(row, backend, exp)
            if how.resamples:
                row.AP_low, row.AP_high = ap_interval(matches[name], how.resamples).interval
                row.AP_differences = _differences(row, matches, how.resamples)
        rows.append(row)
    _note_side_branches(rows)
    _measure_speed(rows, found, exp, how)
    assert first is not None
    return rows, (first, backend)


def _checkpoint(
    name: str, artefact: Artefact, exp: BaseExp, device: torch.device
) -> tuple[ReportRow, Backend]:
    """The row of a checkpoint without what is measured, and what computes its predictions."""
    path = artefact.path
    content = checkpoint.read(path)
    restored = restore_content(content, path, exp.detector_spec())
    model = fuse(restored.model)
    size, stored = complexity(model, exp.test_size), checkpoint.weights_bytes(content, path)
    counts = (size.params, size.nonzero, size.macs)
    row = ReportRow(name, None, None, *counts, stored, artefact.made_from)
    row.note = _note(content.get("chosen"))
    return row, TorchBackend(model, model_info(restored), device)


def _exported(
    name: str, artefact: Artefact, rows: Sequence[ReportRow]
) -> tuple[ReportRow, Backend]:
    """The same of an exported file, whose counts are those of what it was made from."""
    path = artefact.path
    source = next(row for row in rows if row.name == artefact.made_from)
    counts = (source.params, source.nonzero_params, source.macs)
    row = ReportRow(name, None, None, *counts, file_bytes(path), artefact.made_from)
    facts = load_json(path.with_suffix(".json"))
    row.note = f"{len(facts['float_layers'])} of {facts['layers']} layers are float"
    return row, open_file(path, Runtime())


def _note_side_branches(rows: Sequence[ReportRow]) -> None:
    """Say of which rows the last one was not made, where that is not clear from their names."""
    parents = {row.name: row.made_from for row in rows}
    way: list[str | None] = [rows[-1].name]
    while way[-1] is not None:
        way.append(parents.get(way[-1]))
    for row in rows:
        if row.name not in (*way, DENSE, CONTROL):
            branch = f"a side branch, {rows[-1].name} was not made from it"
            row.note = f"{row.note}; {branch}" if row.note else branch


def _note(chosen: Mapping[str, Any] | None) -> str:
    """How a model was chosen, where there was a choice."""
    if not chosen or not chosen["scores"]:
        return ""
    kept, scores = chosen["kept"], chosen["scores"]
    others = ", ".join(f"{name} {value:.4f}" for name, value in scores.items() if name != kept)
    better = "" if kept == list(scores)[-1] else "what came later was worse; "
    return f"{better}{kept} is kept ({chosen['measure']} {scores[kept]:.4f}; {others})"


def _measure_accuracy(row: ReportRow, backend: Backend, exp: BaseExp) -> ImageMatches:
    """AP of a model, and which of its detections are right."""
    dataset = exp.get_eval_dataset()
    found = evaluate_alone(backend, dataset, exp.test_size, exp.predict_options())
    row.AP, row.AP50 = found.metrics.AP, found.metrics.AP50
    row.AP_by_class = {
        name: None if math.isnan(one.AP) else one.AP
        for name, one in found.metrics.per_class.items()
    }
    return match(found.truth, found.results)


def _differences(
    row: ReportRow, matches: Mapping[str, ImageMatches], resamples: int
) -> dict[str, dict[str, float | None]]:
    """A row's AP less that of the dense model, of the control, and of what it was made from."""
    found: dict[str, dict[str, float | None]] = {}
    for name in dict.fromkeys((DENSE, CONTROL, row.made_from)):
        if name is None or name == row.name or name not in matches:
            continue
        estimate = paired_difference(matches[name], matches[row.name], resamples)
        low, high = estimate.interval
        found[name] = {"value": estimate.value, "low": low, "high": high}
    return found


def _is_timed(row: ReportRow, rows: Mapping[str, ReportRow], last: ReportRow) -> bool:
    """Whether a row computes otherwise than what it was made from, or ends the table."""
    before = rows.get(row.made_from or "")
    return before is None or row is last or (row.params, row.macs) != (before.params, before.macs)


def _measure_speed(
    rows: Sequence[ReportRow], found: Artefacts, exp: BaseExp, how: MeasureSpec
) -> None:
    by_name = {row.name: row for row in rows}
    last = [row for row in rows if not is_exported(found[row.name].path)][-1]
    paths = {
        row.name: path
        for row in rows
        if is_exported(path := found[row.name].path) or _is_timed(row, by_name, last)
    }
    for timed in measure_speed(paths, exp, how.backends, how.device):
        row, backend = by_name[timed.case.model.name], timed.case.backend
        if timed.case.batch == 1:
            row.latency_ms[backend], row.peak_mb[backend] = timed.latency_ms, timed.peak_mb
        else:
            row.latency_ms_batch8[backend] = timed.latency_ms
