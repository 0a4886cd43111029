"""Check a data set and print the report."""

from argparse import Namespace

import numpy as np

from yolox.cli.arguments import require_writable
from yolox.data.dataset import DetectionDataset
from yolox.data.doctor import draw_targets, examine, format_report, report_json
from yolox.errors import DataError
from yolox.files import write_json


def run(args: Namespace) -> int:
    """Do it. Raises YoloxError."""
    require_writable({"--report": args.report, "--page": args.page})
    report = examine(args.data, args.json, args.name, args.allow_outside)
    print(format_report(report))
    if args.report is not None:
        write_json(args.report, report_json(report))
    if args.page is not None:
        dataset = DetectionDataset(
            args.data, args.json, args.name, strict=False, allow_outside=args.allow_outside
        )
        page = draw_targets(dataset, args.page, np.random.default_rng(args.seed))
        print(f"\npage of targets: {page}")
    if report.fatal:
        found = ", ".join(f"{count} {kind}" for kind, count in report.fatal_counts.items())
        raise DataError(f"{report.json_path}: not usable for training: {found}")
    return 0
