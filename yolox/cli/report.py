"""Print the table of a report: `python compress/report.py DIR/report.json`."""

import sys

from yolox.cli.arguments import Parser, path
from yolox.compress.report.read import read_report
from yolox.compress.report.table import report_table


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    parser = Parser("compress/report.py", description=__doc__)
    parser.add_argument("report", type=path)
    found = read_report(parser.parse(argv).report)
    table = report_table(found.rows, found.chosen_on)
    sys.stdout.write("\n".join([table, *found.words, ""]))
    return 0
