"""`yolox run` and `main.py`: the deployment run that a JSON configuration describes.

Images of a folder are sorted by aspect ratio into rectangular batches, detected, and written as an
answer: the framework, the parameter count (values that are not zero), then COCO results.
"""

from yolox.cli.arguments import Parser, path


def make_parser() -> Parser:
    """The flags."""
    parser = Parser("main.py", description=__doc__)
    parser.add_argument("--config", type=path, required=True, help="JSON configuration")
    parser.add_argument("-f", "--exp_file", help="experiment file, in the place of exp")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="keys to override")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    args = make_parser().parse(argv)
    from yolox.cli.jobs.deploy import run

    return run(args)
