"""Merge alone: `python compress/merge.py --ckpt tuned.pth`."""

from yolox.cli.common import run
from yolox.cli.merge import main

if __name__ == "__main__":
    raise SystemExit(run(main))
