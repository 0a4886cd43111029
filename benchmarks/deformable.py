"""Deformable convolutions on this machine's CPU: torchvision's kernel and the toolkit's sampling.

    python benchmarks/deformable.py

Seconds of a forward pass and of a training step of one layer, in turns, best of five.
"""

import time
from collections.abc import Callable
from functools import partial

import torch
from tabulate import tabulate
from torchvision.ops import deform_conv2d

from yolox.families.centernet.deformable import DeformableConv, by_sampling

# inputs, outputs, side: the three layers of a neck at 128 and at 512 pixels
LAYERS = ((512, 256, 4), (256, 128, 8), (128, 64, 16), (512, 256, 16), (256, 128, 32))
BATCH, TIMES = 8, 5


def seconds(ways: list[Callable[[], object]]) -> list[float]:
    """The best time of each, taken in turns."""
    found = [[] for _ in ways]  # type: list[list[float]]
    for turn in range(TIMES + 1):
        for way, times in zip(ways, found, strict=True):
            start = time.perf_counter()
            way()
            if turn:  # the first is to warm up
                times.append(time.perf_counter() - start)
    return [min(times) for times in found]


def main() -> None:
    """Measure and print."""
    rows = []
    for inputs, outputs, side in LAYERS:
        layer = DeformableConv(inputs, outputs)
        x = torch.randn(BATCH, inputs, side, side, requires_grad=True)
        offset = torch.randn(BATCH, 18, side, side, requires_grad=True)
        mask = torch.rand(BATCH, 9, side, side, requires_grad=True)

        kernel = partial(deform_conv2d, x, offset, layer.weight, padding=1, mask=mask)
        sampling = partial(by_sampling, x, offset, mask, layer.weight)
        with torch.no_grad():
            forward = seconds([kernel, sampling])
        step = seconds([lambda k=k: k().sum().backward() for k in (kernel, sampling)])
        ratios = forward[0] / forward[1], step[0] / step[1]
        rows.append(
            [f"{inputs} -> {outputs}, {side} x {side}", *forward, ratios[0], *step, ratios[1]]
        )
    heads = ["layer, batch 8", "kernel", "sampling", "ratio"]
    heads += ["kernel, step", "sampling, step", "ratio"]
    print(tabulate(rows, headers=heads, tablefmt="github", floatfmt=".3f"))


if __name__ == "__main__":
    main()
