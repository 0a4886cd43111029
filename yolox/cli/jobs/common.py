"""What the jobs share: the experiment and the model that the flags name."""

import argparse
from pathlib import Path

from loguru import logger

from yolox.engine.launch import JobSize, pick_device
from yolox.engine.records import Record
from yolox.errors import UsageError
from yolox.exp import BaseExp, exp_of_checkpoint, get_exp, set_stored_options
from yolox.export.open import Opened, Runtime, is_exported, open_model, require_device_used


def open_named(args: argparse.Namespace, exp: BaseExp, fused: bool = True) -> Opened:
    """The model that -c names, or the experiment's best checkpoint, in the runtime asked for.

    An exported file of a fixed size sets the experiment's test_size. Raises UsageError where
    --tsize says otherwise; ModelError.
    """
    device = pick_device(args.device)
    half = "bf16" if device.type == "cpu" and args.backend != "onnxruntime" else "fp16"
    precision = half if args.fp16 else "bf16" if args.bf16 else "fp32"
    runtime = Runtime(args.backend, precision, device, args.threads, args.provider)
    path = named_checkpoint(args, exp)
    require_device_used(args.device, path, args.backend)
    opened = open_model(path, runtime, exp.test_size, exp.detector_spec(), fused=fused)
    info = opened.backend.info
    if info.size_hw is not None and tuple(info.size_hw) != tuple(exp.test_size):
        if args.tsize is not None:
            raise UsageError(f"{path} has the fixed size {tuple(info.size_hw)}, not {args.tsize}")
        logger.warning("{}'s size {} is used, not {}", path, tuple(info.size_hw), exp.test_size)
        exp.test_size = (info.size_hw[0], info.size_hw[1])
    if info.output == "detections":
        logger.warning("{} has its own suppression, which is used: {}", path, dict(info.nms))
    return opened


def named_checkpoint(args: argparse.Namespace, exp: BaseExp) -> str:
    """The file that -c names, else the experiment's best checkpoint."""
    return args.ckpt or str(Path(exp.output_dir) / exp.exp_name / "best_ckpt.pth")


def set_test_size(exp: BaseExp, tsize: int | None) -> None:
    """--tsize, a square. Raises UsageError where it does not fit the strides."""
    if tsize is not None:
        exp.test_size = (tsize, tsize)
        exp.validate()


def job_size(args: argparse.Namespace) -> JobSize:
    """Processes and machines of a job."""
    return JobSize(args.devices, args.num_machines, args.machine_rank, args.dist_url)


def load_experiment(
    args: argparse.Namespace, ckpt: str | None = None, record: Record | None = None
) -> BaseExp:
    """The experiment named on the command line, with its options set and checked.

    ckpt: a checkpoint that names its experiment, for the case that the command line does not.
    record: of the run that made the checkpoint, whose options may be others.
    """
    if args.exp_file is None and args.name is None and ckpt is not None:
        if is_exported(ckpt):
            raise UsageError(f"{ckpt} does not name its experiment: name it with -f or -n")
        exp = exp_of_checkpoint(ckpt)
        if record is not None:
            set_stored_options(exp, record.options, f"the record in {record.folder}")
        exp.merge(args.opts)
        logger.info("images and labels, where needed, are those in {}", exp.data_root())
    else:
        exp = get_exp(args.exp_file, args.name)
        exp.merge(args.opts)
    if args.experiment_name:
        exp.exp_name = args.experiment_name
    exp.validate()
    return exp
