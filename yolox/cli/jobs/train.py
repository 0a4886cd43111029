"""Train an experiment on one or many devices."""

from argparse import Namespace
from pathlib import Path

import torch

from yolox.cli.arguments import require_writable_folder
from yolox.cli.jobs.common import job_size, load_experiment
from yolox.engine.launch import joined, launch, needs_launch, pick_device
from yolox.engine.state import RunOptions
from yolox.engine.train import train
from yolox.errors import ModelError
from yolox.exp import BaseExp
from yolox.files import is_file

OCCUPY_SHARE = 0.9  # of the free memory


def run(args: Namespace, words: list[str]) -> int:
    """Do it. words: of the command line, for the processes of a job. Raises YoloxError."""
    exp = load_experiment(args)
    if args.save_every is not None:
        exp.save_minutes = args.save_every
        exp.validate()
    size = job_size(args)
    if needs_launch(size):
        return launch(["-m", "yolox.cli", "train", *words], size)
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
