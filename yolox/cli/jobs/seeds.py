"""A table over training runs."""

import math
from argparse import Namespace
from pathlib import Path

from tabulate import tabulate

from yolox.data.annotations import load_json
from yolox.errors import DataError, UsageError
from yolox.eval.seeds import over_runs

METRICS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR100")
VOC = ("voc_11", "voc_all")


def run(args: Namespace) -> int:
    """Do it. Raises YoloxError."""
    if len(set(args.results)) < len(args.results):
        raise UsageError("yolox seeds: one of the files is named twice")
    found: dict[str, list[float]] = {}
    for name in args.results:
        for key, value in _metrics(name).items():
            found.setdefault(key, []).append(value)
    rows = []
    for key, values in found.items():
        if len(values) < len(args.results):
            continue  # not measured in all runs
        mean, low, high, n = over_runs(values)
        interval = "-" if math.isnan(low) else f"{low:.4f} to {high:.4f}"
        rows.append([key, f"{mean:.4f}", interval, n, " ".join(f"{v:.4f}" for v in values)])
    heads = ["metric", "mean", "95 % interval of the mean", "n", "runs"]
    print(tabulate(rows, headers=heads, tablefmt="github", disable_numparse=True))
    return 0


def _metrics(name: str) -> dict[str, float]:
    """The metrics in a file. Raises DataError where it is no result of an evaluation."""
    content = load_json(Path(name))
    values = {key: content.get(key) for key in METRICS}
    for key in VOC:
        if isinstance(content.get(key), dict):
            values |= {f"{key} {part}": content[key].get(part) for part in ("AP", "AP50")}
    found = {k: float(v) for k, v in values.items() if isinstance(v, float | int)}
    if "AP" not in found:
        raise DataError(f"{name} is no result of an evaluation: it has no AP")
    return found
