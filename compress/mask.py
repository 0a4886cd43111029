"""Weight masks: which weights of a checkpoint are kept. The shapes stay as they are.

`python compress/mask.py --ckpt best_ckpt.pth --share 0.49` writes `mask.pth`: the checkpoint with
masked weights and its masks, to be tuned (`tools/train.py -c`) or merged.
"""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from torch import Tensor, nn

from compress.importance import CRITERIA, Criterion
from yolox.cli.common import Parser, run
from yolox.config import DetectorSpec, to_dict
from yolox.engine import checkpoint
from yolox.engine.checkpoint import lean
from yolox.engine.masks import apply_masks
from yolox.errors import ModelError, UsageError
from yolox.exp import get_exp

SHARE = 0.49  # of the source system
EXCLUDED = ("head",)
NEARLY_EMPTY = 0.02  # a layer that keeps less than this share is named in a warning


def maskable_weights(model: nn.Module, exclude: Sequence[str] = EXCLUDED) -> dict[str, Tensor]:
    """The 4-D weights whose name holds none of the excluded words.

    Raises ModelError where none is left.
    """
    found = {
        name: parameter.detach()
        for name, parameter in model.named_parameters()
        if parameter.dim() == 4 and not any(word in name for word in exclude)
    }
    if not found:
        raise ModelError(f"no weights to mask are left without {', '.join(exclude)}")
    return found


def make_masks(
    weights: Mapping[str, Tensor], share: float, criterion: Criterion
) -> dict[str, Tensor]:
    """Bool masks, True where kept; exactly `share` of all weights together are left out.

    Raises ValueError for a share outside 0..1.
    """
    if not 0.0 <= share < 1.0:
        raise ValueError(f"share {share} is not in 0..1")
    scores = criterion(weights)
    flat = torch.cat([score.flatten().double() for score in scores.values()])
    removed = flat.argsort(stable=True)[: round(share * flat.numel())]
    kept = torch.ones(flat.numel(), dtype=torch.bool)
    kept[removed] = False
    parts = torch.split(kept, [score.numel() for score in scores.values()])
    masks = {
        name: part.reshape(score.shape)
        for (name, score), part in zip(scores.items(), parts, strict=True)
    }
    for name, mask in masks.items():
        if mask.float().mean() < NEARLY_EMPTY:
            logger.warning("{} keeps {} of {} weights", name, int(mask.sum()), mask.numel())
    return masks


def mask_checkpoint(
    content: Mapping[str, Any], model: nn.Module, masks: dict[str, Tensor]
) -> dict[str, Any]:
    """The checkpoint `content`, whose weights `model` holds, with masks applied and attached."""
    apply_masks(model, masks)
    return {**lean(content), "model": model.state_dict(), "masks": masks}


def kept_share(masks: Mapping[str, Tensor]) -> float:
    """Kept weights over all masked weights."""
    return sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())


def criterion_by_name(name: str) -> Criterion:
    """Raises UsageError for an unknown criterion."""
    if name not in CRITERIA:
        raise UsageError(f"criterion {name!r} is none of {', '.join(CRITERIA)}")
    return CRITERIA[name]


def main(argv: list[str] | None = None) -> int:
    """Run the command. Raises YoloxError."""
    parser = Parser("compress/mask.py", description=__doc__)
    parser.add_argument("--ckpt", required=True)
    parser.add_argument("--share", type=float, default=SHARE, help="share of weights left out")
    parser.add_argument("--criterion", default="magnitude", help=", ".join(CRITERIA))
    parser.add_argument(
        "--exclude", nargs="*", default=list(EXCLUDED), help="words in names to leave alone"
    )
    parser.add_argument("--out", default="YOLOX_outputs/compress", help="folder for mask.pth")
    add_architecture(parser)
    args = parser.parse(argv)
    content, model = load_dense(args.ckpt, named_architecture(args))
    weights = maskable_weights(model, args.exclude)
    try:
        masks = make_masks(weights, args.share, criterion_by_name(args.criterion))
    except ValueError as error:
        raise UsageError(f"--share: {error}") from error
    target = Path(args.out) / "mask.pth"
    checkpoint.save(target, mask_checkpoint(content, model, masks))
    logger.info("{:.1%} of {} weights kept -> {}", kept_share(masks), len(masks), target)
    return 0


def load_dense(path: str, expected: DetectorSpec | None = None) -> tuple[dict[str, Any], nn.Module]:
    """A trainable checkpoint and its model; the checkpoint's `spec` is filled in.

    expected: the experiment's architecture, for checkpoints that state none. Raises ModelError
    where the checkpoint is merged, states no architecture and none is expected, or does not fit.
    """
    content = checkpoint.read(path)
    if "sparse" in content:
        raise ModelError(f"checkpoint {path} is merged already: name the one it was made from")
    restored = checkpoint.restore_content(content, path, expected)
    content["spec"] = to_dict(restored.spec)
    return content, restored.model


def add_architecture(parser: Parser) -> None:
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


if __name__ == "__main__":
    raise SystemExit(run(main))
