"""`yolox COMMAND ...`, also as `python -m yolox.cli`."""

import sys
from importlib import import_module

from yolox.cli.common import Main, run
from yolox.config import nearest
from yolox.errors import UsageError

COMMANDS = {
    "train": ("yolox.cli.train", "train an experiment"),
    "eval": ("yolox.cli.eval", "COCO metrics and latency of a checkpoint"),
    "demo": ("yolox.cli.demo", "detect in images, a video or a camera, and save pictures"),
    "compress": ("yolox.cli.compress", "make a checkpoint sparse and measure what came of it"),
    "mask": ("yolox.cli.mask", "weight masks of a checkpoint, alone"),
    "adapt": ("yolox.cli.adapt", "fit a pruned or masked checkpoint to its dense one, alone"),
    "merge": ("yolox.cli.merge", "fuse a masked checkpoint and store it sparsely, alone"),
    "sensitivity": ("yolox.cli.sensitivity", "what each channel group is worth"),
    "report": ("yolox.cli.report", "print the table of a compression's report"),
    "export": ("yolox.cli.export", "ONNX and OpenVINO files, INT8, compared with their source"),
    "benchmark": ("yolox.cli.benchmark", "latency, memory and size of models, side by side"),
    "run": ("yolox.cli.deploy", "the deployment run of a JSON configuration"),
    "seeds": ("yolox.cli.seeds", "mean and interval of metrics over training runs"),
    "download": ("yolox.cli.download", "data sets and weights of their publishers"),
    "convert": ("yolox.cli.convert", "annotations from one format to another"),
    "verify": ("yolox.cli.verify", "check a run's files and data against its records"),
    "doctor": ("yolox.cli.doctor", "report on a data set and draw its targets"),
}


def usage() -> str:
    """The list of commands."""
    lines = [f"  {name:<11} {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(["usage: yolox COMMAND [--help] ...", "", *lines, ""])


def dispatch(argv: list[str] | None = None) -> int:
    """Find the command and run it."""
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(usage())
        return 0 if words else UsageError.exit_code
    name, *rest = words
    if name not in COMMANDS:
        raise UsageError(f"unknown command {name!r}{nearest(name, list(COMMANDS))}")
    main: Main = import_module(COMMANDS[name][0]).main
    return main(rest)


def main() -> int:
    """The console command."""
    return run(dispatch)


if __name__ == "__main__":
    sys.exit(main())
