"""Detect and draw: `python tools/demo.py image -n yolox-s -c yolox_s.pth --path pictures/`."""

from yolox.cli.common import run
from yolox.cli.demo import main

if __name__ == "__main__":
    raise SystemExit(run(main))
