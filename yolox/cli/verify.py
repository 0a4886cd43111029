"""`yolox verify RUN`: whether a run's files and data are still what its records say.

RUN is the folder of a training or a compression, a checkpoint, or an exported file (with --source,
the checkpoint that it was exported from). Exits with 1 where anything has changed.
"""

from yolox.cli.arguments import Parser, path
from yolox.cli.common import add_experiment


def make_parser() -> Parser:
    """The flags of the command."""
    parser = Parser("yolox verify", description=__doc__)
    parser.add_argument("run", type=path, metavar="RUN", help="folder, checkpoint or exported file")
    parser.add_argument("--ap", action="store_true", help="evaluate the final model again, too")
    parser.add_argument("--source", type=path, help="the checkpoint of an exported file")
    parser.add_argument("--json", dest="json_file", help="write the checks to this file")
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps, for --ap")
    add_experiment(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    args = make_parser().parse(argv)
    from yolox.cli.jobs.verify import run

    return run(args)
