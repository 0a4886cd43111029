"""Measure models: `python tools/benchmark.py best_ckpt.pth sparse.onnx --backend onnxruntime`."""

from yolox.cli.benchmark import main
from yolox.cli.common import run

if __name__ == "__main__":
    raise SystemExit(run(main))
