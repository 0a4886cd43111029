"""Print the table of a report: `python compress/report.py DIR/report.json`."""

import sys

from compress.flow.measure import Stage
from compress.flow.report import stage_table
from yolox.cli.arguments import Parser, path
from yolox.cli.common import run
from yolox.data.coco import load_json
from yolox.errors import DataError


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    parser = Parser("compress/report.py", description=__doc__)
    parser.add_argument("report", type=path)
    args = parser.parse(argv)
    try:
        content = load_json(args.report)
        stages = [Stage(**row) for row in content["stages"]]
    except (KeyError, TypeError) as error:
        raise DataError(f"{args.report} is not a compression report: {error!r}") from error
    sys.stdout.write(stage_table(stages, content.get("chosen_on")) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
