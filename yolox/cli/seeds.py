"""A table over training runs: `yolox seeds a.json b.json c.json`, files of `yolox eval --json`.

For each metric its mean over the runs and the 95 % interval of that mean (Student's t), which says
how far another set of seeds may be off, on the same images.
"""

from yolox.cli.arguments import Parser


def make_parser() -> Parser:
    """The flags."""
    parser = Parser("yolox seeds", description=__doc__)
    parser.add_argument("results", nargs="+", help="results of evaluations, one for each run")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    args = make_parser().parse(argv)
    from yolox.cli.jobs.seeds import run

    return run(args)
