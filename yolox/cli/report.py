"""Print the table of a report: `python compress/report.py DIR/report.json`."""

from yolox.cli.arguments import Parser, path


def make_parser() -> Parser:
    """The flags."""
    parser = Parser("compress/report.py", description=__doc__)
    parser.add_argument("report", type=path)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    args = make_parser().parse(argv)
    from yolox.cli.jobs.report import run

    return run(args)
