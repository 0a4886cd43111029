"""Print the table of a report: `python compress/report.py DIR/report.json`."""

import sys

from yolox.cli.arguments import Parser, path
from yolox.compress.report.measure import ReportRow
from yolox.compress.report.table import report_table
from yolox.data.annotations import load_json
from yolox.errors import DataError, UsageError
from yolox.values import check_value


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    parser = Parser("compress/report.py", description=__doc__)
    parser.add_argument("report", type=path)
    args = parser.parse(argv)
    content = load_json(args.report)
    rows, chosen_on = content.get("stages"), content.get("chosen_on")
    words = content.get("words", [])
    try:
        check_value("stages", rows, list)
        check_value("chosen_on", chosen_on, str | None)
        check_value("words", words, list)
        for number, sentence in enumerate(words):
            check_value(f"words[{number}]", sentence, str)
        found = [ReportRow.from_json(row, f"stages[{n}]") for n, row in enumerate(rows or [])]
    except UsageError as error:
        raise DataError(f"{args.report} is not a compression report: {error}") from error
    sys.stdout.write("\n".join([report_table(found, chosen_on), *words, ""]))
    return 0
