"""The YOLOX-nano variants, each trained for the same number of images, from nothing and from
COCO's weights, and compressed: one table per data set.

    python benchmarks/voc_nano.py --data datasets/bccd --classes 3 --weights yolox_nano.pth \
        --out YOLOX_outputs/voc_nano_bccd --seeds 0 1

Every row is a run of `tools/train.py`, `tools/eval.py` or `compress/prune.py`; rows that are there
already are not measured again. --data is a folder with COCO annotations or in any other layout that
training reads; its splits are named by trailing KEY VALUE options.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = ("baseline", "dwconv", "mdconv", "fpn-dark2", "final", "ghost")
STARTS = ("nothing", "coco")
EPOCHS = {"nothing": 20, "coco": 10}
BATCH = "8"
TRAINING = {
    "input_size": "(320, 320)",
    "test_size": "(320, 320)",
    "random_size": "(8, 12)",
    "warmup_epochs": 1,
    "no_aug_epochs": 2,
    "basic_lr_per_img": 0.01 / 16,
    "ema_decay": 0.99,
    "ema_warmup": 50.0,
    "data_num_workers": 1,
    "save_history_ckpt": False,
}


class Bench:
    """Where everything lies."""

    def __init__(self, args: argparse.Namespace):
        self.out, self.weights = args.out, args.weights
        self.data = ["data_dir", str(args.data), "num_classes", str(args.classes), *args.options]
        self.epochs = args.epochs
        self.out.mkdir(parents=True, exist_ok=True)

    def train(self, variant: str, start: str, seed: int) -> Path:
        """The best checkpoint of a run, trained where it is not there."""
        name = f"{variant}-{start}-{seed}"
        done = self.out / f"{name}.train.json"
        if not done.is_file():
            epochs = max(1, round(EPOCHS[start] * self.epochs))
            options = {**TRAINING, "max_epoch": epochs, "eval_interval": epochs, "seed": seed}
            options |= {"output_dir": self.out}
            words = ["-c", str(self.weights)] if start == "coco" else []
            seconds = self._run(
                "tools/train.py",
                "-n",
                f"voc-nano-{variant}",
                "-expn",
                name,
                "-b",
                BATCH,
                *words,
                *self.data,
                *(str(word) for pair in options.items() for word in pair),
            )
            done.write_text(json.dumps({"cpu_seconds": seconds, "epochs": epochs}))
        return self.out / name / "best_ckpt.pth"

    def row(self, variant: str, start: str, seed: int) -> dict[str, Any]:
        """What a run came to, measured where it is not there."""
        ckpt = self.train(variant, start, seed)
        path = self.out / f"{ckpt.parent.name}.eval.json"
        if not path.is_file():
            self._run("tools/eval.py", "-c", str(ckpt), "-b", BATCH, "--json", str(path))
        trained = json.loads((self.out / f"{ckpt.parent.name}.train.json").read_text())
        return {**trained, **json.loads(path.read_text())}

    def _run(self, script: str, *words: str) -> float:
        """Run a command; returns the seconds of processor time."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with (self.out / "log.txt").open("a") as file:
            command = [sys.executable, str(ROOT / script), *words]
            subprocess.run(command, check=True, stdout=file, stderr=file)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def table(rows: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """Means over seeds, with the AP of each."""
    lines = []
    for (variant, start), found in rows.items():
        aps = [row["AP"] for row in found]
        lines.append(
            [
                variant,
                start,
                statistics.mean(aps),
                " ".join(f"{ap:.4f}" for ap in aps),
                statistics.mean(row["AP50"] for row in found),
                found[0]["params"] / 1e6,
                found[0]["gflops"],
                statistics.mean(row["cpu_seconds"] for row in found),
            ]
        )
    heads = ["variant", "start", "AP", "of each seed", "AP50", "params M", "GFLOPs", "CPU s"]
    return tabulate(lines, headers=heads, tablefmt="github", floatfmt=".4f")


def main() -> None:
    """Train and measure what is asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--classes", type=int, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="yolox_nano.pth")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--variants", nargs="+", default=VARIANTS, choices=VARIANTS)
    parser.add_argument("--starts", nargs="+", default=STARTS, choices=STARTS)
    parser.add_argument("--epochs", type=float, default=1.0, help="times those of BCCD")
    parser.add_argument("options", nargs="*", help="KEY VALUE options of the experiment")
    bench = Bench(parser.parse_args())
    args = parser.parse_args()
    rows: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for seed in args.seeds:
        for start in args.starts:
            for variant in args.variants:
                rows[variant, start].append(bench.row(variant, start, seed))
                print(table(rows), flush=True)


if __name__ == "__main__":
    main()
