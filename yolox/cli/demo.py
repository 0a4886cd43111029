"""`yolox demo image|video|webcam`: detect, and save or show pictures with boxes."""

from yolox.cli.arguments import Parser, real, whole
from yolox.cli.common import add_experiment, add_runtime
from yolox.defaults import CONF, NMS


def make_parser() -> Parser:
    """The flags of YOLOX's demo command."""
    parser = Parser("yolox demo", description=__doc__)
    parser.add_argument("demo", choices=["image", "video", "webcam"])
    parser.add_argument("-c", "--ckpt", help="checkpoint or exported file")
    parser.add_argument("--path", help="image, folder of images, or video")
    parser.add_argument("--camid", type=whole(0), default=0, help="number of the camera")
    parser.add_argument("--out", help="folder for the pictures (default: <output_dir>/<exp>/demo)")
    parser.add_argument("--limit", type=whole(0), default=0, help="images at the most (0: all)")
    parser.add_argument(
        "--save_result", action="store_true", help="webcam: save a video; others always save"
    )
    parser.add_argument("--show", action="store_true", help="show frames in a window too")
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps")
    parser.add_argument("--conf", type=real(0, 1), default=CONF, help="score threshold")
    parser.add_argument(
        "--nms", type=real(0, 1), default=NMS, help="IoU threshold, over all classes"
    )
    parser.add_argument("--tsize", type=whole(), help="test at this square size")
    parser.add_argument("--legacy", action="store_true", help="RGB, normalised (YOLOX before 0.2)")
    parser.add_argument("--fuse", action="store_true", help="as always: batch norm is folded in")
    add_runtime(parser)
    add_experiment(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    args = make_parser().parse(argv)
    from yolox.cli.jobs.demo import run

    return run(args)
