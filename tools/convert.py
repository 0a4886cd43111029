"""Convert annotations: `python tools/convert.py SRC --from yolo --to coco --out DIR`."""

from yolox.cli.common import run
from yolox.cli.convert import main

if __name__ == "__main__":
    raise SystemExit(run(main))
