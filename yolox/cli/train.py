"""`yolox train`: train an experiment on one or many devices."""

import sys
from argparse import Namespace
from pathlib import Path

import torch

from yolox.cli.arguments import Parser, real, require_writable_folder, whole
from yolox.cli.common import add_experiment, add_job, job_size, load_experiment
from yolox.engine.launch import joined, launch, needs_launch, pick_device
from yolox.engine.log import LOGGERS
from yolox.engine.state import RunOptions
from yolox.engine.train import train
from yolox.errors import ModelError
from yolox.exp import BaseExp
from yolox.files import is_file

OCCUPY_SHARE = 0.9  # of the free memory


def make_parser() -> Parser:
    """The flags of YOLOX's training command."""
    parser = Parser("yolox train", description=__doc__)
    parser.add_argument(
        "-b", "--batch-size", type=whole(1, "MAX_BATCH"), default=64, help="over all devices"
    )
    parser.add_argument(
        "-c", "--ckpt", help="checkpoint to start from or, with --resume, to continue"
    )
    parser.add_argument(
        "-e", "--start_epoch", type=whole(), help="with --resume: first epoch, from 1"
    )
    parser.add_argument("--resume", action="store_true", help="continue a run exactly")
    parser.add_argument(
        "--fp16", action="store_true", help="fp16 with a scaler on CUDA, bf16 on the CPU"
    )
    parser.add_argument("--bf16", action="store_true", help="bf16 autocast")
    parser.add_argument("--cache", nargs="?", const="ram", choices=["ram", "disk"])
    parser.add_argument("-o", "--occupy", action="store_true", help="take the GPU's memory at once")
    parser.add_argument("-l", "--logger", default="tensorboard", choices=LOGGERS)
    parser.add_argument(
        "--save-every", type=real(), metavar="MINUTES", help="save within epochs too (save_minutes)"
    )
    add_job(parser)
    add_experiment(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    args = make_parser().parse(argv)
    exp = load_experiment(args)
    if args.save_every is not None:
        exp.save_minutes = args.save_every
        exp.validate()
    size = job_size(args)
    if needs_launch(size):
        return launch(["-m", "yolox.cli", "train", *(sys.argv[1:] if argv is None else argv)], size)
    device = pick_device(args.device)
    _require_files(args, exp)
    with joined(args.dist_backend, device, args.dist_timeout):
        if args.occupy and device.type == "cuda":
            _occupy(device)
        options = RunOptions(
            batch_size=args.batch_size,
            device=device,
            precision="fp16" if args.fp16 else "bf16" if args.bf16 else "fp32",
            resume=args.resume,
            ckpt=args.ckpt,
            start_epoch=args.start_epoch,
            cache=args.cache,
            logger=args.logger,
        )
        train(exp, options)
    return 0


def _require_files(args: Namespace, exp: BaseExp) -> None:
    """What a run reads and writes, looked for before it begins. Raises UsageError, ModelError."""
    folder = Path(exp.output_dir) / exp.exp_name
    require_writable_folder("output folder", folder)
    latest = folder / "latest_ckpt.pth" if args.resume and not args.ckpt else None
    for path in (args.ckpt, exp.teacher, latest):
        if path is not None and not is_file(path):
            raise ModelError(f"checkpoint {path} does not exist")


def _occupy(device: torch.device) -> None:
    """Let the caching allocator take most of the free memory, so that nobody else does."""
    free, _ = torch.cuda.mem_get_info(device)
    torch.empty(int(free * OCCUPY_SHARE), dtype=torch.uint8, device=device)
