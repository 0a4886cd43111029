"""Masks alone: `python compress/mask.py --ckpt best_ckpt.pth --share 0.49`."""

from yolox.cli.common import run
from yolox.cli.mask import main

if __name__ == "__main__":
    raise SystemExit(run(main))
