"""Download data sets and weights: `python tools/download.py voc2007`."""

from yolox.cli.common import run
from yolox.cli.download import main

if __name__ == "__main__":
    raise SystemExit(run(main))
