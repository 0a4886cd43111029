"""Masks alone: `python compress/mask.py --ckpt best_ckpt.pth --nonzero 0.51` writes `mask.pth`.

That is the checkpoint with masked weights and its masks, to be tuned (`tools/train.py -c`), merged
(`compress/merge.py`) or pruned.
"""

from yolox.cli.arguments import Parser
from yolox.cli.stages import add_nonzero, job_parser
from yolox.compress.steps import PATTERNS, MaskStep
from yolox.defaults import MASK_CRITERIA


def make_parser() -> Parser:
    """The flags."""
    parser = job_parser("compress/mask.py", str(__doc__))
    add_nonzero(parser)
    parser.add_argument("--criterion", default=MaskStep.criterion, help=", ".join(MASK_CRITERIA))
    parser.add_argument("--pattern", default="none", help=", ".join(PATTERNS))
    parser.add_argument(
        "--exclude", nargs="*", help="words in names to leave alone (default: the head's)"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    args = make_parser().parse(argv)
    from yolox.cli.jobs.mask import run

    return run(args)
