"""The plans of torch-pruning for a checkpoint, as checkpoints that the recovery here takes.

    pip install torch-pruning
    python benchmarks/compression/peer.py --ckpt best_ckpt.pth --macs 0.5 --out peer \
        -f benchmarks/compression/bccd_nano.py data_dir BCCD
    python compress/prune.py --ckpt peer/taylor_global.pth --recipe recover.yaml ...

One file per way of choosing channels: group L2 with the same ratio everywhere (the library's
default), group L2 over all layers, group Taylor over all layers, and group Taylor with the
isomorphic ranking (Fang 2024). The ratio is searched for until the share of MACs is met. So only
the choice of channels is the peer's: what is tuned after it, and how, is what the recipe says.
"""

import copy
from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch_pruning as tp
from torch import nn

from yolox.cli.common import add_experiment
from yolox.cli.jobs.common import load_experiment
from yolox.compress.groups import Groups, find_groups, kept_channels, kept_units
from yolox.compress.importance.gradients import loss_gradients
from yolox.compress.workspace import load_trainable
from yolox.engine import checkpoint
from yolox.models.channels import cut_channels
from yolox.models.complexity import complexity
from yolox.models.fuse import fuse
from yolox.models.trace import tensors

SEARCH_STEPS = 12  # halvings of the interval in which the ratio lies
ROUND_TO = 8  # as this toolkit rounds
LARGEST_RATIO = 0.9  # of a layer
IMAGES = 64  # for gradients


@dataclass(frozen=True)
class Way:
    """How torch-pruning chooses: by gradients or by magnitude, and what is ranked together."""

    taylor: bool = False
    everywhere: bool = False
    isomorphic: bool = False

    def importance(self) -> Any:
        """The library's measure of a group of channels."""
        found = tp.importance
        return found.GroupTaylorImportance() if self.taylor else found.GroupMagnitudeImportance(p=2)


WAYS = {
    "l2_uniform": Way(),
    "l2_global": Way(everywhere=True),
    "taylor_global": Way(taylor=True, everywhere=True),
    "taylor_isomorphic": Way(taylor=True, everywhere=True, isomorphic=True),
}


class _Tensors(nn.Module):
    """A detector whose raw predictions are a list of tensors, which the library can follow."""

    def __init__(self, model: Any):
        super().__init__()
        self.inner = model

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return tensors(self.inner.raw(images))


class Peer:
    """A dense model, and the channels that torch-pruning keeps of it.

    gradients: by parameter, for ways that need them.
    """

    def __init__(
        self,
        model: Any,
        size_hw: tuple[int, int],
        gradients: Mapping[str, torch.Tensor],
        round_to: int = ROUND_TO,
    ):
        self._model, self._size_hw, self._gradients = model, size_hw, gradients
        self._round_to = round_to
        self.groups: Groups = find_groups(model, size_hw)
        self._dense_macs = complexity(fuse(model), size_hw).macs
        produced = {m.layer for group in self.groups.groups for m in group.producers}
        layers = self.groups.trace.layers.values()
        self._fixed = [x.name for x in layers if x.kind == "conv" and x.name not in produced]

    def channels(self, way: Way, share: float) -> tuple[dict[str, Any], float]:
        """The kept channels of the largest model that meets the share of MACs, and its share."""
        low, high, best = 0.0, 0.98, None
        for _ in range(SEARCH_STEPS):
            ratio = (low + high) / 2
            channels = self._pruned(way, ratio)
            left = complexity(fuse(cut_channels(self._model, channels)), self._size_hw).macs
            if left <= share * self._dense_macs:
                best, high = (channels, left / self._dense_macs), ratio
            else:
                low = ratio
        if best is None:
            raise SystemExit(f"{way}: {share} of the MACs is out of reach")
        return best

    def _pruned(self, way: Way, ratio: float) -> dict[str, Any]:
        """What is left at a ratio. Every batch norm carries the numbers of its channels along."""
        model = copy.deepcopy(self._model).train()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(True)
            parameter.grad = self._gradients[name].clone() if way.taylor else None
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean = torch.arange(norm.num_features).float()
        pruner = tp.pruner.BasePruner(
            _Tensors(model.eval()),
            torch.zeros(1, 3, *self._size_hw),
            importance=way.importance(),
            global_pruning=way.everywhere,
            isomorphic=way.isomorphic,
            pruning_ratio=ratio,
            max_pruning_ratio=LARGEST_RATIO,
            ignored_layers=[model.get_submodule(name) for name in self._fixed],
            round_to=self._round_to,
        )
        pruner.step()
        left = {
            conv: {"out": model.get_submodule(norms[0]).running_mean.int().tolist()}
            for conv, norms in self.groups.trace.normed().items()
        }
        channels = kept_channels(self.groups, kept_units(self.groups, left))
        shapes = {k: v.shape for k, v in cut_channels(self._model, channels).state_dict().items()}
        if shapes != {key: value.shape for key, value in model.state_dict().items()}:
            raise SystemExit("torch-pruning couples other channels than this toolkit")
        return channels


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--ckpt", required=True)
    parser.add_argument("--macs", type=float, default=0.5)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    add_experiment(parser)
    args = parser.parse_args()
    exp = load_experiment(args, args.ckpt)
    content, dense, _ = load_trainable(args.ckpt, exp.detector_spec())
    content.setdefault("exp", exp.origin())
    dense.eval()
    peer = Peer(dense, exp.test_size, loss_gradients(dense, exp, IMAGES))
    for name in args.ways:
        channels, left = peer.channels(WAYS[name], args.macs)
        weights = cut_channels(dense, channels).state_dict()
        path = args.out / f"{name}.pth"
        checkpoint.save(path, {**content, "model": weights, "channels": channels})
        print(f"{path}: {left:.3f} of the MACs")


if __name__ == "__main__":
    main()
