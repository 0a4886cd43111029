"""`yolox doctor`: check a data set and say what is wrong with it."""

from yolox.cli.arguments import Parser, path, seed


def make_parser() -> Parser:
    """The flags of the command."""
    parser = Parser("yolox doctor", description=__doc__)
    parser.add_argument("--data", type=path, required=True, metavar="DIR", help="data folder")
    parser.add_argument("--json", required=True, metavar="FILE", help="in DIR/annotations")
    parser.add_argument("--name", required=True, metavar="SUBFOLDER", help="of the images")
    parser.add_argument("--allow-outside", action="store_true", help="read images outside DIR, too")
    parser.add_argument("--report", type=path, metavar="FILE.json", help="also write it as JSON")
    parser.add_argument("--page", type=path, metavar="FILE.jpg", help="draw 16 images with boxes")
    parser.add_argument("--seed", type=seed, default=0, help="of the choice of images")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    args = make_parser().parse(argv)
    from yolox.cli.jobs.doctor import run

    return run(args)
