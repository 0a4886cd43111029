"""`yolox train`: train an experiment on one or many devices."""

import sys

from yolox.cli.arguments import Parser, real, whole
from yolox.cli.common import add_experiment, add_job
from yolox.defaults import LOGGERS


def make_parser() -> Parser:
    """The flags of YOLOX's training command."""
    parser = Parser("yolox train", description=__doc__)
    parser.add_argument(
        "-b", "--batch-size", type=whole(1, "MAX_BATCH"), default=64, help="over all devices"
    )
    parser.add_argument(
        "-c", "--ckpt", help="checkpoint to start from or, with --resume, to continue"
    )
    parser.add_argument(
        "-e", "--start_epoch", type=whole(), help="with --resume: first epoch, from 1"
    )
    parser.add_argument("--resume", action="store_true", help="continue a run exactly")
    parser.add_argument(
        "--fp16", action="store_true", help="fp16 with a scaler on CUDA, bf16 on the CPU"
    )
    parser.add_argument("--bf16", action="store_true", help="bf16 autocast")
    parser.add_argument("--cache", nargs="?", const="ram", choices=["ram", "disk"])
    parser.add_argument("-o", "--occupy", action="store_true", help="take the GPU's memory at once")
    parser.add_argument("-l", "--logger", default="tensorboard", choices=LOGGERS)
    parser.add_argument(
        "--save-every", type=real(), metavar="MINUTES", help="save within epochs too (save_minutes)"
    )
    add_job(parser)
    add_experiment(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    args = make_parser().parse(argv)
    from yolox.cli.jobs.train import run

    return run(args, sys.argv[1:] if argv is None else argv)
