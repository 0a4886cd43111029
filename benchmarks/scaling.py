"""Seconds of a training step by batch, image size, objects and processes: a table and a picture.

`python benchmarks/scaling.py --data COCO128 [--picture scaling.png]`: YOLOX-nano on the CPU,
without the input pipeline. Two processes of one thread train on half of a batch each and exchange
gradients by gloo, against one process of one and of two threads.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from official_step import ours
from tabulate import tabulate

BATCHES, SIZES, OBJECTS = (2, 4, 8, 16), (224, 320, 416, 512), (0, 20, 60, 100)
BATCH, SIZE, COUNT = 8, 416, 20  # where the others vary
STEPS = 5
JOBS = {"1 process, 1 thread": (1, 1), "1 process, 2 threads": (1, 2), "2 processes": (2, 1)}


def step_seconds(data: str, batch: int, size: int, count: int) -> float:
    """The median of some steps in this process."""
    step = ours(data, "nano", size, batch, count)
    step()
    found = []
    for _ in range(STEPS):
        start = time.perf_counter()
        step()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def job_seconds(data: str, processes: int, threads: int) -> float:
    """The same of a job of several processes, which share the batch."""
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    words = [__file__, "--data", data, "--child"]
    done = subprocess.run(
        [sys.executable, *command, *words],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        check=True,
        capture_output=True,
        text=True,
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


def child(data: str) -> None:
    """One process of a job."""
    import torch

    from yolox import dist
    from yolox.engine.launch import joined

    device = torch.device("cpu")
    with joined("auto", device):
        seconds = step_seconds(data, BATCH, SIZE, COUNT)
        if dist.rank() == 0:
            print(json.dumps(seconds), flush=True)


def draw(found: dict[str, dict[int, float]], path: Path) -> None:
    """A picture of the lines."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(found), figsize=(10, 3), sharey=True)
    for axis, (name, line) in zip(axes, found.items(), strict=True):
        axis.plot(list(line), list(line.values()), marker="o")
        axis.set_xlabel(name)
        axis.set_ylim(bottom=0)
    axes[0].set_ylabel("seconds per step")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a COCO folder")
    parser.add_argument("--picture", type=Path, help="where to draw it")
    parser.add_argument("--child", action="store_true")
    args = parser.parse_args()
    if args.child:
        child(args.data)
        return
    found = {
        "batch": {batch: step_seconds(args.data, batch, SIZE, COUNT) for batch in BATCHES},
        "image size": {size: step_seconds(args.data, BATCH, size, COUNT) for size in SIZES},
        "objects per image": {n: step_seconds(args.data, BATCH, SIZE, n) for n in OBJECTS},
    }
    rows = [(f"{name} {at}", f"{s:.3f}") for name, line in found.items() for at, s in line.items()]
    for name, (processes, threads) in JOBS.items():
        rows.append((name, f"{job_seconds(args.data, processes, threads):.3f}"))
    print(tabulate(rows, ("YOLOX-nano", "s per step"), tablefmt="github", disable_numparse=True))
    if args.picture:
        draw(found, args.picture)


if __name__ == "__main__":
    main()
