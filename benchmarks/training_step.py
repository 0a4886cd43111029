"""One training step (forward, loss, backward) by memory layout and by OpenMP's waiting.

`python benchmarks/training_step.py [-n yolox-nano] [--batch 8] [--size 320]`

The layouts take turns within a run. OpenMP reads its settings once, so each of them is a run of its
own: on the machine as it is, next to a process that keeps one core busy, and next to a second
training. (`yolox` sets 10,000 spins when it is imported before torch; here torch comes first.)
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

from official_step import objects

SETTINGS = {
    "OpenMP's default": {},
    "10,000 spins (ours)": {"GOMP_SPINCOUNT": "10000"},
    "passive": {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"},
}
BUSY = "while True: pass"


def main() -> None:
    """Measure every setting, idle and loaded, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--name", default="yolox-nano")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--objects", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--once", action="store_true", help="measure in this process only")
    args = parser.parse_args()
    if args.once:
        measure(args)
        return
    endless = [sys.executable, __file__, "--once", *sys.argv[1:], "--rounds", "100000"]
    loads = {
        "idle": None,
        "one core busy": [sys.executable, "-c", BUSY],
        "second training": endless,
    }
    for load, other in loads.items():
        env = {**os.environ, **SETTINGS["passive"]}
        busy = subprocess.Popen(other, env=env) if other else None
        try:
            for name, env in SETTINGS.items():
                print(f"{load}, {name}:", flush=True)
                command = [sys.executable, __file__, "--once", *sys.argv[1:]]
                subprocess.run(command, env={**os.environ, **env}, check=True)
        finally:
            if busy is not None:
                busy.kill()


def measure(args: argparse.Namespace) -> None:
    """Print median seconds per step for both memory layouts, measured in turns."""
    import torch

    from yolox.exp import get_exp

    exp = get_exp(exp_name=args.name)
    images, targets = objects(args.size, args.batch, args.objects)
    images = images.float()
    layouts = {"channels-last": torch.channels_last, "channels-first": torch.contiguous_format}
    models = {name: exp.get_model().train() for name in layouts}
    criterion = exp.get_criterion()
    spent: dict[str, list[tuple[float, ...]]] = {name: [] for name in layouts}
    for number in range(args.rounds + 1):
        for name, layout in layouts.items():
            start = time.perf_counter()
            predictions = models[name](images.contiguous(memory_format=layout))
            forward = time.perf_counter()
            loss = criterion(predictions, targets)["total_loss"]
            judged = time.perf_counter()
            loss.backward()
            end = time.perf_counter()
            models[name].zero_grad(set_to_none=True)
            if number:
                spent[name].append((forward - start, judged - forward, end - judged, end - start))
    for name, rows in spent.items():
        forward, judged, backward, total = (
            statistics.median(column) for column in zip(*rows, strict=True)
        )
        print(
            f"  {name}: {total:.3f} s (forward {forward:.3f}, loss {judged:.3f}, "
            f"backward {backward:.3f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
