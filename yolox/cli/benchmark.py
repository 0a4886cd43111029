"""`yolox benchmark MODEL...`: latency, memory and size, side by side.

A model is a checkpoint, an ONNX or OpenVINO file (a peer's, too), or the name or file of an
experiment (random weights: speed only). Every case runs in a process of its own; the cases of one
batch and size take turns. Ctrl-C ends the measurement and keeps what is measured.
"""

import os

from yolox.cli.arguments import Parser, whole


def make_parser() -> Parser:
    """The flags."""
    parser = Parser("yolox benchmark", description=__doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("-f", "--exp_file", help="experiment of checkpoints that name none")
    parser.add_argument("-n", "--name", help="the same by its name")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY VALUE", dest="opts")
    parser.add_argument("--backend", nargs="+", help="one or several (default: each file's own)")
    parser.add_argument("--precision", nargs="+", default=["fp32"], help="fp32 bf16 fp16 int8")
    parser.add_argument("--batch-size", "-b", nargs="+", type=whole(1, "MAX_BATCH"), default=[1])
    parser.add_argument(
        "--size", nargs="+", type=whole(), help="square sizes (default: each its own)"
    )
    parser.add_argument("--threads", type=whole(1, "MAX_THREADS"), default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=whole(), default=20)
    parser.add_argument(
        "--at-once", type=whole(2, "MAX_PROCESSES"), default=6, help="processes in memory together"
    )
    parser.add_argument("--device", help="of the torch backends")
    parser.add_argument("--calibration", help="folder of images for int8 of checkpoints")
    parser.add_argument("--ap", action="store_true", help="evaluate each case, too")
    parser.add_argument("--json", dest="json_file", help="write the rows to this file")
    parser.add_argument("--picture", help="write AP against latency to this file (needs --ap)")
    parser.add_argument("--work", help="keep exported files in this folder")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    args = make_parser().parse(argv, pairs=False)
    from yolox.cli.jobs.benchmark import run

    return run(args)
