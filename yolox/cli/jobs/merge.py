"""Merging alone."""

from argparse import Namespace
from pathlib import Path

from loguru import logger

from yolox.cli.arguments import require_writable_folder
from yolox.compress.merge import merge
from yolox.compress.steps import Storage
from yolox.compress.workspace import load_trainable
from yolox.engine import checkpoint
from yolox.errors import UsageError
from yolox.exp import get_exp
from yolox.families import DetectorSpec


def run(args: Namespace) -> int:
    """Do it. Raises YoloxError."""
    try:
        storage = Storage(args.encoding, args.values)
    except ValueError as error:
        raise UsageError(f"compress/merge.py: {error}") from error
    require_writable_folder("--out", args.out)
    content, model, _ = load_trainable(args.ckpt, named_architecture(args))
    if not content.get("masks"):
        logger.warning(
            "checkpoint {} has no masks: only what is zero already is left out", args.ckpt
        )
    merged = merge(content, model, storage)
    target = Path(args.out) / "merged.pth"
    checkpoint.save(target, merged)
    logger.info(
        "{} values not zero, {:.2f} MB -> {}",
        merged["nonzero_params"],
        target.stat().st_size / 1e6,
        target,
    )
    return 0


def named_architecture(args: Namespace) -> DetectorSpec | None:
    """The architecture named on the command line, if one is."""
    if args.exp_file is None and args.name is None:
        return None
    return get_exp(args.exp_file, args.name).detector_spec()
