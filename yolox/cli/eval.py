"""`yolox eval`: COCO metrics, per-class AP and the latency of each stage."""

import sys

from yolox.cli.arguments import Parser, real, seed, whole
from yolox.cli.common import add_experiment, add_job, add_runtime
from yolox.defaults import SUBSETS


def make_parser() -> Parser:
    """The flags of YOLOX's evaluation command, and --json."""
    parser = Parser("yolox eval", description=__doc__)
    parser.add_argument(
        "-c", "--ckpt", help="checkpoint or exported file (default: the experiment's best_ckpt.pth)"
    )
    parser.add_argument(
        "-b", "--batch-size", type=whole(1, "MAX_BATCH"), default=64, help="over all devices"
    )
    parser.add_argument("--conf", type=real(0, 1), help="score threshold")
    parser.add_argument("--nms", type=real(0, 1), help="IoU threshold")
    parser.add_argument("--tsize", type=whole(), help="test at this square size")
    parser.add_argument("--fuse", action="store_true", help="as always: batch norm is folded in")
    parser.add_argument("--no-fuse", action="store_true", help="keep batch norm layers")
    parser.add_argument("--legacy", action="store_true", help="RGB, normalised (YOLOX before 0.2)")
    parser.add_argument(
        "--test", action="store_true", help="the test set: write results, no metrics"
    )
    parser.add_argument("--speed", action="store_true", help="measure speed only")
    parser.add_argument(
        "--interval", action="store_true", help="AP's 95 %% interval over images, in --json, too"
    )
    parser.add_argument(
        "--resamples",
        type=whole(1),
        default=SUBSETS,
        help="random halves of the images for --interval",
    )
    parser.add_argument(
        "--voc", action="store_true", help="AP by the Pascal VOC protocol, too (difficult ignored)"
    )
    parser.add_argument(
        "--report", metavar="DIR", help="write pictures and evaluation.html to this folder"
    )
    parser.add_argument("--seed", type=seed, help="seed of torch")
    parser.add_argument("--json", dest="json_file", help="write the result to this file")
    parser.add_argument("--results", help="write the detections to this file (COCO results)")
    add_runtime(parser)
    add_job(parser)
    add_experiment(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    args = make_parser().parse(argv)
    from yolox.cli.jobs.eval import run

    return run(args, sys.argv[1:] if argv is None else argv)
