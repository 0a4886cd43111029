"""`yolox export`: a checkpoint as an ONNX or OpenVINO file, INT8 on request, and the proof.

The export ends with a comparison of outputs on images (`--images`, else the experiment's
validation images), and with `--ap` of COCO AP. Where the file drifts from its source, the exit code
is 5 and the file is kept as `NAME.rejected.onnx`, not under the name asked for.
"""

from argparse import Namespace
from pathlib import Path

from yolox.cli.arguments import Parser, real, require_writable, whole
from yolox.cli.common import add_experiment, load_experiment, named_checkpoint, set_test_size
from yolox.config import EvalSpec
from yolox.errors import UsageError
from yolox.exp import BaseExp
from yolox.export.onnx_graph import INPUT, OPSET, OUTPUT, GraphSpec
from yolox.export.run import ExportJob, Int8, export
from yolox.files import write_json


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
    exp = load_experiment(args, args.ckpt)
    set_test_size(exp, args.tsize)
    ckpt = named_checkpoint(args, exp)
    try:
        job = ExportJob(
            ckpt, exp, Path(args.output_name), _graph(args, exp), _int8(args), args.images, args.ap
        )
    except ValueError as error:
        raise UsageError(f"export: {error}") from error
    require_writable({"--output-name": job.target, "--json": args.json_file})
    facts = export(job)
    if args.json_file:
        write_json(Path(args.json_file), facts, indent=2)
    return 0


def _graph(args: Namespace, exp: BaseExp) -> GraphSpec:
    nms = None
    if args.nms:
        nms = EvalSpec(
            args.conf,
            args.iou,
            args.class_agnostic,
            args.multi_class,
            max_detections=args.max_detections,
        )
    return GraphSpec(
        exp.test_size,
        args.batch_size,
        dynamic=args.dynamic_size,
        dynamic_batch=args.dynamic,
        decode=args.decode_in_inference or not exp.detector_spec().has_flat,
        nms=nms,
        half=args.fp16,
        opset=args.opset,
        input_name=args.input,
        output_name=args.output,
    )


def _int8(args: Namespace) -> Int8 | None:
    if args.int8:
        return Int8(args.calibration, args.calibration_images, args.max_drop)
    for flag in ("calibration", "max_drop"):
        if getattr(args, flag) is not None:
            raise UsageError(f"--{flag.replace('_', '-')} needs --int8")
    return None
