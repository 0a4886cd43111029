"""The whole compression: `python compress/prune.py --ckpt best_ckpt.pth --recipe RECIPE`."""

from yolox.cli.common import run
from yolox.cli.compress import main

if __name__ == "__main__":
    raise SystemExit(run(main))
