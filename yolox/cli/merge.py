"""Merge alone: `python compress/merge.py --ckpt tuned.pth` writes `merged.pth`.

`tools/eval.py`, `main.py` and `tools/demo.py` read it like any checkpoint. It cannot be trained:
its batch norms are gone.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from loguru import logger

from yolox.cli.arguments import Parser, require_writable_folder
from yolox.compress.merge import merge
from yolox.compress.steps import VALUE_TYPES, Storage
from yolox.compress.workspace import load_trainable
from yolox.engine import checkpoint
from yolox.errors import UsageError
from yolox.exp import get_exp
from yolox.families import DetectorSpec
from yolox.ops.sparse import ENCODINGS


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    parser = Parser("compress/merge.py", description=__doc__)
    parser.add_argument("--ckpt", required=True, help="checkpoint with masks")
    parser.add_argument("--encoding", default="bitmask", help=", ".join(ENCODINGS))
    parser.add_argument("--values", default="fp32", help=", ".join(VALUE_TYPES))
    parser.add_argument("--out", default="YOLOX_outputs/compress", help="folder for merged.pth")
    add_architecture(parser)
    args = parser.parse(argv)
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


def add_architecture(parser: ArgumentParser) -> None:
    """-f and -n, for checkpoints that do not state their architecture."""
    parser.add_argument(
        "-n", "--name", help="experiment, for a checkpoint without its architecture"
    )
    parser.add_argument("-f", "--exp_file", help="experiment file, likewise")


def named_architecture(args: Namespace) -> DetectorSpec | None:
    """The architecture named on the command line, if one is."""
    if args.exp_file is None and args.name is None:
        return None
    return get_exp(args.exp_file, args.name).detector_spec()
