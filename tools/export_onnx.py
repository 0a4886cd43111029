"""ONNX and OpenVINO files: see `--help`."""

from yolox.cli.common import run
from yolox.cli.export import main

if __name__ == "__main__":
    raise SystemExit(run(main))
