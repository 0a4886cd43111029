"""Adaptation alone: `python compress/adapt.py --ckpt pruned.pth --dense dense.pth`."""

from yolox.cli.adapt import main
from yolox.cli.common import run

if __name__ == "__main__":
    raise SystemExit(run(main))
