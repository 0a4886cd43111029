"""Adaptation alone: `python compress/adapt.py --ckpt pruned.pth --dense dense.pth`.

Fits what is left of a pruned or masked checkpoint to the outputs of the dense one it was made from,
without gradients and at the experiment's test_size, and writes `adapted.pth`: with
`test_size "(320, 320)"` for a deployment at another size. `adapted.pth` remembers the size. Without
--dense only --recalibrate is possible.
"""

from yolox.cli.arguments import Parser, real, whole
from yolox.cli.stages import job_parser
from yolox.compress.steps import AdaptStep

PROG = "compress/adapt.py"


def make_parser() -> Parser:
    """The flags."""
    parser = job_parser(PROG, str(__doc__))
    parser.add_argument("--dense", help="checkpoint that the other was made from")
    parser.add_argument(
        "--images", type=whole(), default=AdaptStep.images, help="to calibrate with"
    )
    parser.add_argument(
        "--ridge", type=real(), default=AdaptStep.ridge, help="draw towards the weights before"
    )
    parser.add_argument("--no-fold", action="store_true", help="do not fold constants")
    parser.add_argument("--no-least-squares", action="store_true", help="do not solve weights anew")
    parser.add_argument(
        "--recalibrate", action="store_true", help="estimate batch-norm statistics again"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    args = make_parser().parse(argv)
    from yolox.cli.jobs.adapt import run

    return run(args)
