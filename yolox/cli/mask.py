"""Masks alone: `python compress/mask.py --ckpt best_ckpt.pth --nonzero 0.51` writes `mask.pth`.

That is the checkpoint with masked weights and its masks, to be tuned (`tools/train.py -c`), merged
(`compress/merge.py`) or pruned.
"""

from yolox.cli.compress import add_nonzero, job_of, job_parser, masked_share, named_task
from yolox.compress.importance.weights import CRITERIA
from yolox.compress.recipe import Recipe
from yolox.compress.run import compress
from yolox.compress.steps import PATTERNS, SHARE, MaskStep
from yolox.errors import UsageError


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    parser = job_parser("compress/mask.py", str(__doc__))
    add_nonzero(parser)
    parser.add_argument("--criterion", default=MaskStep.criterion, help=", ".join(CRITERIA))
    parser.add_argument("--pattern", default="none", help=", ".join(PATTERNS))
    parser.add_argument(
        "--exclude", nargs="*", help="words in names to leave alone (default: the head's)"
    )
    args = parser.parse(argv)
    try:
        exclude = None if args.exclude is None else tuple(args.exclude)
        share = masked_share(args)
        share = SHARE if share is None else share
        step = MaskStep(share, args.criterion, exclude, args.pattern)
    except ValueError as error:
        raise UsageError(f"compress/mask.py: {error}") from error
    compress(job_of(named_task(args), Recipe(mask=step), until="mask"))
    return 0
