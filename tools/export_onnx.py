"""Export a checkpoint: `python tools/export_onnx.py -c best_ckpt.pth --output-name yolox.onnx`."""

from yolox.cli.common import run
from yolox.cli.export import main

if __name__ == "__main__":
    raise SystemExit(run(main))
