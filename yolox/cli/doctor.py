"""`yolox doctor`: check a data set and say what is wrong with it."""

import numpy as np

from yolox.cli.arguments import Parser, path, require_writable, seed
from yolox.data.dataset import DetectionDataset
from yolox.data.doctor import draw_targets, examine, format_report, report_json
from yolox.errors import DataError
from yolox.files import write_json


def main(argv: list[str] | None = None) -> int:
    """Print the report. Raises DataError where training on the data set would stop."""
    args = make_parser().parse(argv)
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


def make_parser() -> Parser:
    """The flags of the command."""
    parser = Parser("yolox doctor", description=__doc__)
    parser.add_argument("--data", type=path, required=True, metavar="DIR", help="data folder")
    parser.add_argument("--json", required=True, metavar="FILE", help="in DIR/annotations")
    parser.add_argument("--name", required=True, metavar="SUBFOLDER", help="of the images")
    parser.add_argument("--allow-outside", action="store_true", help="read images outside DIR, too")
    parser.add_argument("--report", type=path, metavar="FILE.json", help="also write it as JSON")
    parser.add_argument("--page", type=path, metavar="FILE.jpg", help="draw 16 images with boxes")
    parser.add_argument("--seed", type=seed, default=0, help="of the choice of images")
    return parser
