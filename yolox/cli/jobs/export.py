"""Export a checkpoint and compare the file with it."""

from argparse import Namespace
from pathlib import Path

from yolox.cli.arguments import require_writable
from yolox.cli.jobs.common import load_experiment, named_checkpoint, set_test_size
from yolox.config import EvalSpec
from yolox.errors import UsageError
from yolox.exp import BaseExp
from yolox.export.onnx_graph import GraphSpec
from yolox.export.run import ExportJob, Int8, export
from yolox.files import write_json


def run(args: Namespace) -> int:
    """Do it. Raises YoloxError."""
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
