"""Evaluate a checkpoint: `python tools/eval.py -n yolox-s -c yolox_s.pth -b 64 -d 1`."""

from yolox.cli.common import run
from yolox.cli.eval import main

if __name__ == "__main__":
    raise SystemExit(run(main))
