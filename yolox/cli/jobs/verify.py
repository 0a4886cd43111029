"""Compare a run's files and data with its records."""

from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from tabulate import tabulate

from yolox.cli.arguments import require_writable
from yolox.cli.jobs.common import load_experiment
from yolox.data.dataset import DetectionDataset
from yolox.engine.launch import pick_device
from yolox.engine.records import read_record
from yolox.engine.verify import (
    Check,
    check_content,
    check_data,
    check_file,
    check_files,
    final_model,
    stating_experiment,
)
from yolox.errors import DataError, ModelError, UsageError, YoloxError
from yolox.eval.evaluate import evaluate_alone
from yolox.exp import BaseExp
from yolox.export.open import Runtime, is_exported, open_file, open_model
from yolox.files import write_json

VERDICTS = {True: "ok", False: "CHANGED", None: "-"}
AP_TOLERANCE = 1e-4  # AP of the same weights on the same images


def run(args: Namespace) -> int:
    """Do it. Raises YoloxError."""
    require_writable({"--json": args.json_file})
    if args.ap and not args.run.is_dir():
        raise UsageError(f"--ap needs a run's folder, {args.run} is none")
    checks = _of_run(args) if args.run.is_dir() else _of_file(args)
    rows = [[c.what, c.recorded, c.found, VERDICTS[c.ok]] for c in checks]
    print(tabulate(rows, headers=["what", "recorded", "found", ""], disable_numparse=True))
    if args.json_file:
        write_json(Path(args.json_file), [asdict(check) for check in checks], indent=2)
    failed = [check for check in checks if check.ok is False]
    if failed:
        first = f"{failed[0].what}: {failed[0].found}"
        raise YoloxError(
            f"{args.run}: {len(failed)} of {len(checks)} checks failed, first: {first}"
        )
    return 0


def _of_file(args: Namespace) -> list[Check]:
    if not args.run.is_file():
        raise DataError(f"{args.run} does not exist")
    if not is_exported(args.run):
        return [check_content(args.run)]
    if args.source is None:
        raise UsageError(f"{args.run} was exported from a checkpoint: name it with --source")
    info = open_file(args.run, Runtime()).info
    return [check_file(f"source of {args.run.name}", args.source, info.source_sha256 or None)]


def _of_run(args: Namespace) -> list[Check]:
    record = read_record(args.run)
    checks = list(check_files(record))
    model, recorded = final_model(record)
    try:
        exp = load_experiment(args, str(stating_experiment(record)), record)
        checks += check_data(record, _datasets(exp))
        if args.ap:
            checks.append(_ap(args, exp, model, recorded))
    except (DataError, ModelError) as error:  # what it names is gone or damaged
        checks.append(Check("model and data", "", str(error), False))
    return checks


def _datasets(exp: BaseExp) -> dict[str, DetectionDataset]:
    """By role. Raises DataError where one of them cannot be read."""
    found = {"training": exp.get_dataset(), "validation": exp.get_eval_dataset()}
    chosen = exp.get_select_dataset()
    return found if chosen is None else {**found, "choosing": chosen}


def _ap(args: Namespace, exp: BaseExp, model: Path, recorded: float | None) -> Check:
    """AP of the final model, measured again."""
    if recorded is None:
        raise UsageError(f"--ap: {args.run} records no AP")
    runtime = Runtime(device=pick_device(args.device))
    backend = open_model(model, runtime, exp.test_size, exp.detector_spec()).backend
    dataset = exp.get_eval_dataset()
    found = evaluate_alone(backend, dataset, exp.test_size, exp.predict_options()).metrics.AP
    same = abs(found - recorded) <= AP_TOLERANCE
    return Check(f"AP of {model.name}", f"{recorded:.4f}", f"{found:.4f}", same)
