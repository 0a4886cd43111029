"""What each channel group's units are worth."""

from argparse import Namespace
from pathlib import Path

from loguru import logger

from yolox.cli.jobs.stages import named_task
from yolox.compress.groups import find_groups, warn_of_unused
from yolox.compress.heatmap import sensitivity_table, write_csv, write_heatmap
from yolox.compress.sensitivity import SensitivityInputs, measured_curves
from yolox.compress.steps import METRICS, SensitivityStep
from yolox.compress.workspace import Workspace
from yolox.errors import UsageError


def run(args: Namespace) -> int:
    """Do it. Raises YoloxError."""
    try:
        step = SensitivityStep(args.metric, tuple(sorted(args.ratios)), args.images)
    except ValueError as error:
        raise UsageError(f"compress/sensitivity.py: {error}") from error
    task = named_task(args)
    workspace, ckpt = Workspace.of(task), Path(args.ckpt)
    dense = workspace.load(ckpt)
    groups = find_groups(dense.model, task.exp.test_size, args.exclude)
    warn_of_unused(args.exclude, groups.trace.layers)
    curves = measured_curves(SensitivityInputs.of(task, ckpt, step), dense, groups, workspace)
    out = workspace.out
    write_csv(out / "sensitivity.csv", curves, step.ratios)
    write_heatmap(out / "sensitivity.png", curves, step.ratios, METRICS[step.metric])
    logger.info("{}\n{}", METRICS[step.metric], sensitivity_table(curves, step.ratios))
    logger.info("-> {}", out / "sensitivity.png")
    return 0
