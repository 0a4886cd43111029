"""Print the table of a report: `python compress/report.py DIR/report.json`."""

from yolox.cli.common import run
from yolox.cli.report import main

if __name__ == "__main__":
    raise SystemExit(run(main))
