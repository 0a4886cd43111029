"""Masks alone: `python compress/mask.py --ckpt best_ckpt.pth --nonzero 0.51`."""

from yolox.cli.common import run
from yolox.cli.mask import main

if __name__ == "__main__":
    raise SystemExit(run(main))
