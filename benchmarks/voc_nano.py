"""The YOLOX-nano variants, each trained for the same number of images, from nothing and from
COCO's weights, and compressed: one table per data set.

    python benchmarks/voc_nano.py --data datasets/bccd --classes 3 --weights yolox_nano.pth \
        --out YOLOX_outputs/voc_nano_bccd --seeds 0 1

Every row is a run of `tools/train.py` and `tools/eval.py`; with --compress also one of
`compress/prune.py`, which tunes the dense model as long as the compressed one, and of
`tools/eval.py` on its result in three runtimes. --floors trains the first variant with several
final learning rates, and each result for as long again: did it only look as if it had converged?
What is there already is not measured again. --data is a folder in any layout that training reads;
its splits are named by trailing KEY VALUE options. --latency measures the dense models side by side
(on an idle machine).
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runs import ROOT, option_words, run_command
from tabulate import tabulate

from yolox.engine.checkpoint import read, weights_bytes

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

RECIPE = """
prune: {params: 0.6, macs: 0.6, images: 64}
adapt: {images: 128}
recover: {teacher: dense, max_epoch: 4, warmup_epochs: 1, no_aug_epochs: 1, eval_interval: 4,
  ema_decay: 0.99, ema_warmup: 50.0, partial_ckpt: false}
"""
RUNTIMES = ("torch", "onnxruntime", "openvino")


class Bench:
    """Where everything lies."""

    def __init__(self, args: argparse.Namespace):
        self.out, self.weights = args.out, args.weights
        self.data = ["data_dir", str(args.data), "num_classes", str(args.classes), *args.options]
        self.epochs = args.epochs
        self.out.mkdir(parents=True, exist_ok=True)

    def train(self, variant: str, start: str, seed: int) -> Path:
        """The best checkpoint of a run, trained where it is not there."""
        ckpt = self.weights if start == "coco" else None
        options = self._options(start, seed)
        return self._train(f"{variant}-{start}-{seed}", variant, ckpt, options) / "best_ckpt.pth"

    def epochs_of(self, start: str) -> int:
        return max(3, round(EPOCHS[start] * self.epochs))

    def _options(self, start: str, seed: int) -> dict[str, object]:
        """Those of a training."""
        epochs = self.epochs_of(start)
        return {**TRAINING, "max_epoch": epochs, "eval_interval": epochs, "seed": seed}

    def floor(self, variant: str, ratio: float, seed: int) -> list[float]:
        """AP after each of the last two epochs of a run whose rate ends at `ratio` of its peak,
        and the best AP when the result is trained as long again, with the usual rates."""
        name, epochs = f"{variant}-floor-{ratio}-{seed}", self.epochs_of("coco")
        options = self._options("coco", seed)
        once = {**options, "min_lr_ratio": ratio, "save_history_ckpt": True}
        folder = self._train(name, variant, self.weights, once)
        last = [folder / f"epoch_{epoch}_ckpt.pth" for epoch in (epochs - 1, epochs)]
        again = self._train(f"{name}-again", variant, last[-1], options) / "best_ckpt.pth"
        return [self._evaluated(ckpt)["AP"] for ckpt in (*last, again)]

    def _train(
        self, name: str, variant: str, ckpt: Path | None, options: dict[str, object]
    ) -> Path:
        """The folder of a run, which is made where it is not there."""
        done = self.out / f"{name}.train.json"
        if not done.is_file():
            options = {**options, "output_dir": self.out}
            words = ["-c", str(ckpt)] if ckpt else []
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
                *option_words(options),
            )
            done.write_text(json.dumps({"cpu_seconds": seconds}))
        return self.out / name

    def row(self, variant: str, start: str, seed: int) -> dict[str, Any]:
        """What a run came to, measured where it is not there."""
        ckpt = self.train(variant, start, seed)
        trained = json.loads((self.out / f"{ckpt.parent.name}.train.json").read_text())
        found = self._evaluated(ckpt, "--voc", "--interval")
        return {**trained, **found, "bytes": weights_bytes(read(ckpt), ckpt)}

    def _evaluated(self, ckpt: Path, *words: str) -> dict[str, Any]:
        """What `tools/eval.py` says of a checkpoint."""
        path = ckpt.with_suffix(".eval.json")
        if not path.is_file():
            self._run("tools/eval.py", "-c", str(ckpt), "-b", BATCH, *words, "--json", str(path))
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def compressed(self, variant: str, start: str, seed: int) -> dict[str, Any]:
        """What a compression left of a run's model: size, and AP in each runtime."""
        ckpt = self.train(variant, start, seed)
        out = self.out / f"{ckpt.parent.name}.sparse"
        recipe = self.out / "compress.yaml"
        recipe.write_text(RECIPE)
        merged = out / "merged.pth"
        control = out / "control.pth"
        if not control.is_file():
            words = ["--recipe", str(recipe), "--out", str(out), "-b", BATCH]
            words += ["--control", "--until", "control"]
            self._run("compress/prune.py", "--ckpt", str(ckpt), *words)
        found: dict[str, Any] = {"bytes": weights_bytes(read(merged), merged), "APs": {}}
        found["control"] = self._evaluated(control)["AP"]
        for name in RUNTIMES:
            path = out / f"{name}.json"
            if not path.is_file():
                words = ["-c", str(merged), "--backend", name, "-b", BATCH, "--json", str(path)]
                self._run("tools/eval.py", *words)
            content = json.loads(path.read_text())
            found["APs"][name] = content["AP"]
            found |= {key: content[key] for key in ("params", "gflops") if name == "torch"}
        return found

    def latency(self, variants: Sequence[str]) -> str:
        """The table of `tools/benchmark.py` for the dense models of the first seed."""
        paths = [str(self.train(variant, "coco", 0)) for variant in variants]
        path = self.out / "latency.txt"
        with path.open("w") as file:
            command = [sys.executable, str(ROOT / "tools/benchmark.py"), *paths]
            command += ["--backend", *RUNTIMES, "-b", "1"]
            subprocess.run(command, check=True, stdout=file, stderr=subprocess.DEVNULL)
        return path.read_text()

    def _run(self, script: str, *words: str) -> float:
        """Run a command; returns the seconds of processor time."""
        return run_command(self.out / "log.txt", script, *words)


def table(rows: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """Means over seeds, with the AP of each."""

    def mean(found: list[dict[str, Any]], *keys: str) -> float:
        values = []
        for row in found:
            value: Any = row
            for key in keys:
                value = value[key]
            values.append(value)
        return statistics.mean(values)

    lines = []
    for (variant, start), found in rows.items():
        low, high = found[0]["AP_interval"]
        lines.append(
            [
                variant,
                start,
                mean(found, "AP"),
                " ".join(f"{row['AP']:.4f}" for row in found),
                f"{low:.3f}-{high:.3f}",
                mean(found, "AP50"),
                mean(found, "voc_11", "AP"),
                found[0]["params"] / 1e6,
                found[0]["gflops"],
                found[0]["bytes"] / 1e6,
                round(mean(found, "cpu_seconds")),
            ]
        )
    heads = ["variant", "start", "AP", "of each seed", "95 % of the first", "AP50", "VOC AP (11)"]
    heads += ["params M", "GFLOPs", "file MB", "CPU s"]
    return tabulate(lines, headers=heads, tablefmt="github", floatfmt=".4f")


def compressed_table(rows: dict[str, tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """Dense and compressed models of the first seed, by variant."""
    lines = [
        [
            variant,
            dense["AP"],
            small["control"],
            *(small["APs"][name] for name in RUNTIMES),
            f"{small['params'] / dense['params']:.2f}",
            f"{small['gflops'] / dense['gflops']:.2f}",
            f"{small['bytes'] / dense['bytes']:.2f}",
        ]
        for variant, (dense, small) in rows.items()
    ]
    heads = [
        "variant",
        "dense AP",
        "dense, tuned as long",
        *(f"compressed, {name}" for name in RUNTIMES),
    ]
    heads += ["parameters", "FLOPs", "file"]
    return tabulate(
        lines, headers=heads, tablefmt="github", floatfmt=".4f", disable_numparse=[6, 7, 8]
    )


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
    parser.add_argument("--compress", action="store_true")
    parser.add_argument("--latency", action="store_true")
    parser.add_argument("--floors", type=float, nargs="+", default=[], help="of the learning rate")
    parser.add_argument("options", nargs="*", help="KEY VALUE options of the experiment")
    args = parser.parse_args()
    bench = Bench(args)
    rows: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for seed in args.seeds:
        for start in args.starts:
            for variant in args.variants:
                rows[variant, start].append(bench.row(variant, start, seed))
                print(table(rows), flush=True)
    if args.compress:
        seed = args.seeds[0]
        small = {
            variant: (bench.row(variant, "coco", seed), bench.compressed(variant, "coco", seed))
            for variant in args.variants
        }
        print(compressed_table(small), flush=True)
    for ratio in args.floors:
        for seed in args.seeds:
            found = bench.floor(args.variants[0], ratio, seed)
            words = ", ".join(f"{AP:.4f}" for AP in found[:2])
            print(f"floor {ratio} seed {seed}: {words}; trained again {found[2]:.4f}", flush=True)
    if args.latency:
        print(bench.latency(args.variants))


if __name__ == "__main__":
    main()
