"""Measure models side by side."""

import tempfile
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from loguru import logger

from yolox.benchmark.cases import BenchmarkSpec, Case, Model, find_model
from yolox.benchmark.prepare import prepare
from yolox.benchmark.rounds import Row, measure, order_of
from yolox.benchmark.tables import pareto, table, write_rows
from yolox.benchmark.worker import open_order
from yolox.cli.arguments import require_writable, require_writable_folder
from yolox.cli.common import INTERRUPTED
from yolox.cli.jobs.common import load_experiment
from yolox.data.dataset import DetectionDataset
from yolox.engine.launch import pick_device
from yolox.errors import UsageError, YoloxError
from yolox.eval.evaluate import evaluate_alone


def run(args: Namespace) -> int:
    """Do it. Raises YoloxError."""
    if args.picture and not args.ap:
        raise UsageError("--picture needs --ap")
    require_writable({"--json": args.json_file, "--picture": args.picture})
    if args.work:
        require_writable_folder("--work", args.work)
    plan = BenchmarkSpec(args.backend, args.precision, args.batch_size, args.threads, args.rounds)
    models = _models(args)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(args.work or temporary)
        cases = [
            case
            for number, model in enumerate(models)
            for case in prepare(model, plan, work / str(number), args.calibration)
        ]
        if not cases:
            raise UsageError("nothing to measure: no backend runs these models so")
        return _run(args, plan, cases)


def _models(args: Namespace) -> list[Model]:
    """The models by name; those of one name get their folder's name, or a number, before it."""
    args.experiment_name = None
    named = args.exp_file is not None or args.name is not None
    found: list[Model] = []
    for text in args.models:
        for size in args.size or [None]:
            exp = load_experiment(args) if named else None
            model = find_model(text, exp, size, args.opts)
            namesakes = [m for m in found if m.name == model.name and m.path != model.path]
            if namesakes and model.path is not None:
                model = replace(model, name=f"{model.path.resolve().parent.name}/{model.name}")
            if any(m.name == model.name and m.path != model.path for m in found):
                model = replace(model, name=f"{len(found) + 1}:{model.name}")
            found.append(model)
    return found


def _run(args: Namespace, plan: BenchmarkSpec, cases: list[Case]) -> int:
    rows: list[Row] = []
    code = 0
    try:
        datasets = _datasets(cases) if args.ap else {}
        for part in measure(cases, plan, str(pick_device(args.device)), args.at_once):
            rows += part
            _keep(args, rows)
        if args.ap:
            _evaluate(args, plan, rows, datasets)
    except KeyboardInterrupt:
        logger.error("interrupted: what is measured is kept")
        code = INTERRUPTED
    order = {case: number for number, case in enumerate(cases)}
    rows.sort(key=lambda row: order[row.case])
    _keep(args, rows)
    print(table(rows))
    if args.picture and pareto(Path(args.picture), rows):
        logger.info("picture: {}", args.picture)
    if code == 0 and all(row.error for row in rows):
        raise YoloxError("none of the cases could be measured")
    return code


def _datasets(cases: list[Case]) -> dict[Model, DetectionDataset]:
    """The validation sets, opened before the work starts. Raises DataError, UsageError."""
    return {
        case.model: case.model.exp.get_eval_dataset()
        for case in cases
        if case.model.exp is not None and case.model.path is not None and case.model.own
    }


def _keep(args: Namespace, rows: list[Row]) -> None:
    if args.json_file:
        write_rows(Path(args.json_file), rows)


def _evaluate(
    args: Namespace, plan: BenchmarkSpec, rows: list[Row], datasets: dict[Model, DetectionDataset]
) -> None:
    """AP of every model in every backend and precision, once for all batch sizes."""
    found: dict[tuple[object, ...], float | None] = {}
    for row in rows:
        case = row.case
        if row.error or case.model not in datasets:
            continue
        key = (case.model, case.backend, case.precision)
        if key not in found:
            logger.info("evaluating {}", case.title)
            found[key] = _accuracy(args, plan, case, datasets[case.model])
        row.ap = found[key]
        _keep(args, rows)


def _accuracy(
    args: Namespace, plan: BenchmarkSpec, case: Case, dataset: DetectionDataset
) -> float | None:
    """AP of a case; None, and a word about it, where the evaluation fails."""
    exp = case.model.exp
    assert exp is not None  # it has a data set
    try:
        backend = open_order(order_of(case, plan, str(pick_device(args.device))))
        found = evaluate_alone(backend, dataset, case.model.size_hw, exp.predict_options())
    except YoloxError as error:
        logger.error("{}: no AP: {}", case.title, error)
        return None
    return found.metrics.AP
