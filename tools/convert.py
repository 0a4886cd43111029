"""Check a run against its records: `python tools/convert.py YOLOX_outputs/RUN`."""

from yolox.cli.common import run
from yolox.cli.convert import main

if __name__ == "__main__":
    raise SystemExit(run(main))
