"""Merge alone: `python compress/merge.py --ckpt tuned.pth` writes `merged.pth`.

`tools/eval.py`, `main.py` and `tools/demo.py` read it like any checkpoint. It cannot be trained:
its batch norms are gone.
"""

from argparse import ArgumentParser

from yolox.cli.arguments import Parser
from yolox.defaults import ENCODINGS, VALUE_TYPES


def make_parser() -> Parser:
    """The flags."""
    parser = Parser("compress/merge.py", description=__doc__)
    parser.add_argument("--ckpt", required=True, help="checkpoint with masks")
    parser.add_argument("--encoding", default="bitmask", help=", ".join(ENCODINGS))
    parser.add_argument("--values", default="fp32", help=", ".join(VALUE_TYPES))
    parser.add_argument("--out", default="YOLOX_outputs/compress", help="folder for merged.pth")
    add_architecture(parser)
    return parser


def add_architecture(parser: ArgumentParser) -> None:
    """-f and -n, for checkpoints that do not state their architecture."""
    parser.add_argument(
        "-n", "--name", help="experiment, for a checkpoint without its architecture"
    )
    parser.add_argument("-f", "--exp_file", help="experiment file, likewise")


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    args = make_parser().parse(argv)
    from yolox.cli.jobs.merge import run

    return run(args)
