"""Whether half of the weights, masked, makes anything faster: layers by products, models by files.

    python benchmarks/compression/masked_speed.py --out YOLOX_outputs/masked yolox-s 320
    python tools/benchmark.py YOLOX_outputs/masked/yolox-s/*.pth \
        --backend torch onnxruntime openvino --rounds 10

The first command writes checkpoints of random weights: dense, half of the weights masked anywhere,
two of every four inputs, and half of all blocks of 8 outputs x 8 inputs (a shape that vector
units of the CPU could skip). Then it prints how long a 1x1 convolution takes as a product of
matrices in torch, dense and in torch's sparse layouts, the layouts in turns. The second command
measures the checkpoints, each in a process of its own, in turns: runtimes read the zeros as numbers
like all others.
"""

import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from random_model import named, write_dense
from tabulate import tabulate
from torch import Tensor

from yolox.compress.mask import make_masks, maskable_weights, two_of_four
from yolox.engine import checkpoint

BLOCK = (8, 8)  # outputs x inputs; torch multiplies by square ones only
LAYERS = ((64, 64, 1600), (128, 128, 400), (256, 256, 100))  # outputs, inputs, positions
ROUNDS = 30

Scores = Mapping[str, Tensor]


def anywhere(scores: Scores) -> dict[str, Tensor]:
    """Masks of half of the weights."""
    return make_masks(scores, 0.5)


def blocks(scores: Scores) -> dict[str, Tensor]:
    """Masks of half of the blocks of every layer that can be divided into them."""
    return {name: _blocks(score) for name, score in scores.items()}


def _blocks(score: Tensor) -> Tensor:
    flat = score.flatten(1)
    high, wide = BLOCK
    if flat.shape[0] % high or flat.shape[1] % wide:
        return torch.ones_like(score, dtype=torch.bool)
    sums = flat.unflatten(0, (-1, high)).unflatten(2, (-1, wide)).sum(dim=(1, 3))
    kept = sums >= sums.flatten().median()
    return kept.repeat_interleave(high, 0).repeat_interleave(wide, 1).view_as(score)


PATTERNS: dict[str, Callable[[Scores], dict[str, Tensor]]] = {
    "anywhere": anywhere,
    "two-of-four": two_of_four,
    "blocks": blocks,
}


def write_checkpoints(name: str, size: int, folder: Path) -> None:
    """The dense model and one of every pattern."""
    model, content = write_dense(name, size, folder)
    scores = {key: weight.abs() for key, weight in maskable_weights(model).items()}
    for pattern, draw in PATTERNS.items():
        masks = draw(scores)
        weights = model.state_dict()
        for key, mask in masks.items():
            weights[key] = weights[key] * mask
        saved = {**content, "model": weights, "masks": masks}
        checkpoint.save(folder / f"{pattern}.pth", saved)
        left = sum(int(mask.sum()) for mask in masks.values())
        print(f"{pattern}: {left / sum(map(Tensor.numel, masks.values())):.3f} of the weights kept")


def layer_times() -> str:
    """Milliseconds of the products, and their ratio to the dense one."""
    rows = []
    for outputs, inputs, positions in LAYERS:
        torch.manual_seed(0)
        weight = torch.randn(outputs, inputs)
        maps = torch.randn(inputs, positions)
        halves = {name: weight * draw({"w": weight.abs()})["w"] for name, draw in PATTERNS.items()}
        layouts = {
            "dense": weight,
            "half anywhere, CSR": halves["anywhere"].to_sparse_csr(),
            "2 of 4, CSR": halves["two-of-four"].to_sparse_csr(),
            "blocks, BSR": halves["blocks"].to_sparse_bsr(BLOCK),
        }
        times = in_turns(layouts, maps)
        for name, taken in times.items():
            shape = f"{outputs} x {inputs} x {positions}"
            rows.append([shape, name, f"{taken:.3f}", f"{taken / times['dense']:.2f}"])
    headers = ["outputs x inputs x positions", "weights", "ms", "ratio"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def in_turns(layouts: Mapping[str, Tensor], maps: Tensor) -> dict[str, float]:
    """Median milliseconds of each layout's product with `maps` [inputs, positions]."""
    times: dict[str, list[float]] = {name: [] for name in layouts}
    for _ in range(ROUNDS):
        for name, weight in layouts.items():
            start = time.perf_counter()
            for _ in range(10):
                weight @ maps
            times[name].append((time.perf_counter() - start) * 100)
    return {name: statistics.median(taken) for name, taken in times.items()}


def main() -> None:
    args = named(__doc__)
    warnings.filterwarnings("ignore", "Sparse (CSR|BSR)")  # torch calls them beta
    write_checkpoints(args.name, args.size, args.out / args.name)
    print(layer_times())


if __name__ == "__main__":
    main()
