"""Print the table of a report."""

import sys
from argparse import Namespace

from yolox.compress.report.read import read_report
from yolox.compress.report.table import report_table


def run(args: Namespace) -> int:
    """Do it. Raises YoloxError."""
    found = read_report(args.report)
    table = report_table(found.rows, found.chosen_on)
    sys.stdout.write("\n".join([table, *found.words, ""]))
    return 0
