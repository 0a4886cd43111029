"""What each channel group's units are worth: `python compress/sensitivity.py --ckpt best_ckpt.pth`.

One group at a time loses a share of its units, those that read it are solved anew, and what is lost
is measured: as a table, `sensitivity.json`, `sensitivity.csv` and `sensitivity.png` in --out. What
was measured before is kept. `prune: {ranking: sensitivity}` in a recipe uses the same file.
"""

from pathlib import Path

from loguru import logger

from yolox.cli.arguments import real, whole
from yolox.cli.compress import job_parser, named_task
from yolox.compress.groups import find_groups, warn_of_unused
from yolox.compress.heatmap import sensitivity_table, write_csv, write_heatmap
from yolox.compress.sensitivity import (
    METRICS,
    RATIOS,
    SensitivityInputs,
    SensitivityStep,
    measured_curves,
)
from yolox.compress.workspace import Workspace
from yolox.errors import UsageError


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    parser = job_parser("compress/sensitivity.py", str(__doc__))
    parser.add_argument("--metric", default=SensitivityStep.metric, help=", ".join(METRICS))
    parser.add_argument(
        "--ratios", nargs="+", type=real(0, 1), default=list(RATIOS), help="shares of units removed"
    )
    parser.add_argument(
        "--images", type=whole(), default=SensitivityStep.images, help="to measure the loss on"
    )
    parser.add_argument("--exclude", nargs="*", default=[], help="words in names to leave alone")
    args = parser.parse(argv)
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
