"""Sensitivity of channel groups: `python compress/sensitivity.py --ckpt best_ckpt.pth`."""

from yolox.cli.common import run
from yolox.cli.sensitivity import main

if __name__ == "__main__":
    raise SystemExit(run(main))
