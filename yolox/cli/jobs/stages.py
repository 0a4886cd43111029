"""What the jobs of compression share: the task that the flags name."""

from argparse import Namespace
from dataclasses import fields
from pathlib import Path
from typing import Any

from loguru import logger

from yolox.cli.arguments import require_writable_folder
from yolox.cli.jobs.common import load_experiment
from yolox.compress.job import CompressionJob, CompressionTask
from yolox.compress.recipe import Recipe
from yolox.engine.launch import pick_device
from yolox.engine.state import RunOptions


def named_task(args: Namespace) -> CompressionTask:
    """The task that `job_parser`'s arguments name."""
    exp = load_experiment(args, args.ckpt)
    require_writable_folder("--out", args.out)
    return CompressionTask(
        ckpt=args.ckpt,
        exp=exp,
        out=Path(args.out),
        options=RunOptions(device=pick_device(args.device)),
        calibration=args.calibration,
    )


def job_of(task: CompressionTask, recipe: Recipe, **how: Any) -> CompressionJob:
    """The job of a task and a recipe. how: fields of the job alone."""
    shared = {field.name: getattr(task, field.name) for field in fields(task)}
    return CompressionJob(**shared, recipe=recipe, **how)


def masked_share(args: Namespace) -> float | None:
    """The share of weights to mask, None where none was named."""
    if args.share is not None:
        logger.warning("--share is deprecated: use --nonzero {:g}", 1 - args.share)
        return float(args.share)
    return None if args.nonzero is None else round(1 - args.nonzero, 12)
