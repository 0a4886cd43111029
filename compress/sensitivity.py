"""What each channel group's units are worth: `python compress/sensitivity.py --ckpt best_ckpt.pth`.

One group at a time loses a share of its units, those that read it are solved anew, and what is lost
is measured: as a table, `sensitivity.json`, `sensitivity.csv` and `sensitivity.png` in --out. What
was measured before is kept. `prune: {ranking: sensitivity}` in a recipe uses the same file.
"""

from pathlib import Path

from loguru import logger

from compress.choose.plan import PruneStep
from compress.flow.heatmap import sensitivity_table, write_csv, write_heatmap
from compress.flow.job import Workspace
from compress.flow.recipe import Recipe
from compress.flow.sensitivity import METRICS, RATIOS, SensitivityStep, measured_curves
from compress.prune import job_parser, named_job
from compress.structure.groups import find_groups
from yolox.cli.arguments import real, whole
from yolox.cli.common import run
from yolox.errors import UsageError


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    parser = job_parser("compress/sensitivity.py", str(__doc__))
    parser.add_argument("--metric", default=SensitivityStep.metric, help=", ".join(METRICS))
    parser.add_argument(
        "--ratios",
        nargs="+",
        type=real(0, 1),
        default=list(RATIOS),
        help="shares of units removed",
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
    prune = PruneStep(params=0.5, ranking="sensitivity", exclude=tuple(args.exclude))
    space = Workspace(named_job(args, Recipe(prune=prune)))
    _, model = space.load(Path(space.job.ckpt))
    groups = find_groups(model, space.exp.test_size, args.exclude)
    curves = measured_curves(space, model, groups, step)
    out = space.job.out
    write_csv(out / "sensitivity.csv", curves, step.ratios)
    write_heatmap(out / "sensitivity.png", curves, step.ratios, METRICS[step.metric])
    logger.info("{}\n{}", METRICS[step.metric], sensitivity_table(curves, step.ratios))
    logger.info("-> {}", out / "sensitivity.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
