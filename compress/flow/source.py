"""The checkpoint that is compressed."""

from argparse import ArgumentParser, Namespace
from typing import Any

from yolox.engine import checkpoint
from yolox.engine.masks import check_masks
from yolox.engine.restore import restore_content
from yolox.errors import ModelError
from yolox.exp import get_exp
from yolox.families import DetectorSpec, spec_to_dict
from yolox.models.network import Network


def load_trainable(
    path: str, expected: DetectorSpec | None = None
) -> tuple[dict[str, Any], Network]:
    """A checkpoint with batch norms and its model; the checkpoint's `spec` is filled in.

    expected: the experiment's architecture, for checkpoints that state none. Raises ModelError
    where the checkpoint is merged, states no architecture and none is expected, or does not fit.
    """
    content = checkpoint.read(path)
    if "sparse" in content:
        raise ModelError(f"checkpoint {path} is merged already: name the one it was made from")
    restored = restore_content(content, path, expected)
    check_masks(restored.masks, restored.model, f"checkpoint {path}")
    content["spec"] = spec_to_dict(restored.spec)
    return content, restored.model


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
