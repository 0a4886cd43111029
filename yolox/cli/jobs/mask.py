"""Masks alone."""

from argparse import Namespace

from yolox.cli.jobs.stages import job_of, masked_share, named_task
from yolox.compress.recipe import Recipe
from yolox.compress.run import compress
from yolox.compress.steps import SHARE, MaskStep
from yolox.errors import UsageError


def run(args: Namespace) -> int:
    """Do it. Raises YoloxError."""
    try:
        exclude = None if args.exclude is None else tuple(args.exclude)
        share = masked_share(args)
        share = SHARE if share is None else share
        step = MaskStep(share, args.criterion, exclude, args.pattern)
    except ValueError as error:
        raise UsageError(f"compress/mask.py: {error}") from error
    compress(job_of(named_task(args), Recipe(mask=step), until="mask"))
    return 0
