"""Flags of the commands of compression."""

from argparse import ArgumentParser

from yolox.cli.arguments import Parser, real
from yolox.cli.common import add_experiment


def job_parser(prog: str, description: str) -> Parser:
    """What the commands of single stages take, too."""
    parser = Parser(prog, description=description)
    parser.add_argument("--ckpt", required=True, help="checkpoint to compress")
    parser.add_argument("--out", default="YOLOX_outputs/compress", help="folder for the artefacts")
    parser.add_argument(
        "--calibration", help="folder of images (default: the experiment's training images)"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps")
    add_experiment(parser)
    return parser


def add_nonzero(parser: ArgumentParser) -> None:
    """The share of weights that masks leave, and its old spelling."""
    nonzero = parser.add_mutually_exclusive_group()
    nonzero.add_argument(
        "--nonzero", type=real(0, 1), help="share of weights that masks leave (0.51 masks 49 %%)"
    )
    nonzero.add_argument("--share", type=real(0, 1), help="deprecated: 1 - NONZERO")
