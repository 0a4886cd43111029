"""What each channel group's units are worth: `python compress/sensitivity.py --ckpt best_ckpt.pth`.

One group at a time loses a share of its units, those that read it are solved anew, and what is lost
is measured: as a table, `sensitivity.json`, `sensitivity.csv` and `sensitivity.png` in --out. What
was measured before is kept. `prune: {ranking: sensitivity}` in a recipe uses the same file.
"""

from yolox.cli.arguments import Parser, real, whole
from yolox.cli.stages import job_parser
from yolox.compress.steps import METRICS, RATIOS, SensitivityStep


def make_parser() -> Parser:
    """The flags."""
    parser = job_parser("compress/sensitivity.py", str(__doc__))
    parser.add_argument("--metric", default=SensitivityStep.metric, help=", ".join(METRICS))
    parser.add_argument(
        "--ratios", nargs="+", type=real(0, 1), default=list(RATIOS), help="shares of units removed"
    )
    parser.add_argument(
        "--images", type=whole(), default=SensitivityStep.images, help="to measure the loss on"
    )
    parser.add_argument("--exclude", nargs="*", default=[], help="words in names to leave alone")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    args = make_parser().parse(argv)
    from yolox.cli.jobs.sensitivity import run

    return run(args)
