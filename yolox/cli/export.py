"""`yolox export`: a checkpoint as an ONNX or OpenVINO file, INT8 on request, and the proof.

The export ends with a comparison of outputs on images (`--images`, else the experiment's
validation images), and with `--ap` of COCO AP. Where the file drifts from its source, the exit code
is 5 and the file is kept as `NAME.rejected.onnx`, not under the name asked for.
"""

from yolox.cli.arguments import Parser, real, whole
from yolox.cli.common import add_experiment
from yolox.defaults import INPUT, OPSET, OUTPUT


def make_parser() -> Parser:
    """The flags of YOLOX's export command, and ours."""
    parser = Parser("yolox export", description=__doc__)
    parser.add_argument("-c", "--ckpt", help="checkpoint (default: the experiment's best_ckpt.pth)")
    parser.add_argument(
        "--output-name", default="yolox.onnx", help="file to write; .xml writes OpenVINO's format"
    )
    parser.add_argument("--input", default=INPUT, help="name of the input")
    parser.add_argument("--output", default=OUTPUT, help="name of the output")
    parser.add_argument("-o", "--opset", type=whole(), default=OPSET)
    parser.add_argument("--batch-size", type=whole(), default=1)
    parser.add_argument("--dynamic", action="store_true", help="any batch size")
    parser.add_argument(
        "--dynamic-size", action="store_true", help="any batch size, any image size"
    )
    parser.add_argument("--tsize", type=whole(), help="export for this square size")
    parser.add_argument(
        "--decode_in_inference",
        action="store_true",
        help="boxes in pixels (YOLOX alone can do without)",
    )
    parser.add_argument("--no-onnxsim", action="store_true", help="as always: nothing to simplify")
    parser.add_argument("--fp16", action="store_true", help="weights and arithmetic in fp16")
    _add_nms(parser)
    _add_int8(parser)
    parser.add_argument("--images", help="folder of images to compare outputs on")
    parser.add_argument("--ap", action="store_true", help="compare AP on the validation set too")
    parser.add_argument("--json", dest="json_file", help="write what was measured to this file")
    add_experiment(parser)
    return parser


def _add_nms(parser: Parser) -> None:
    parser.add_argument("--nms", action="store_true", help="suppression in the graph (ONNX only)")
    parser.add_argument("--conf", type=real(0, 1), default=0.01, help="score threshold of --nms")
    parser.add_argument("--iou", type=real(0, 1), default=0.65, help="IoU threshold of --nms")
    parser.add_argument("--max-detections", type=whole(), default=300, help="per image, of --nms")
    parser.add_argument("--class-agnostic", action="store_true", help="--nms over all classes")
    parser.add_argument(
        "--multi-class", action="store_true", help="--nms on every class of a point"
    )


def _add_int8(parser: Parser) -> None:
    parser.add_argument("--int8", action="store_true", help="quantise after training")
    parser.add_argument(
        "--calibration", help="folder of images (default: the experiment's training images)"
    )
    parser.add_argument("--calibration-images", type=whole(), default=64, help="how many to use")
    parser.add_argument(
        "--max-drop",
        type=real(0, 1),
        help="AP that --int8 may cost: sensitive layers stay float until it holds",
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    args = make_parser().parse(argv)
    from yolox.cli.jobs.export import run

    return run(args)
