"""BCCD: a detector trained, made half or a quarter of itself, and recovered, in minutes.

    python datasets/voc_to_coco.py --voc BCCD --out datasets/bccd --classes RBC WBC Platelets
    python benchmarks/compression/bccd.py --weights yolox_nano.pth --data datasets/bccd \
        --seeds 0 1 2 --variants control half masked both

Options of the experiment stand at the end, behind `--`: `-- select_ann val val_ann test` chooses
the epoch on other images than those that are reported on. "control" is the dense model tuned as
long and in the same way as the compressed ones: the row to compare them with. Every row is a run
of `tools/train.py` (dense) or `compress/prune.py` (the others) that can be interrupted; rows that
are there already are not measured again. Ends with the table of all rows.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[2]
EXP = Path(__file__).with_name("bccd_nano.py")
HALF = {"macs": 0.5}
ADAPT: dict[str, Any] = {}
RECOVER: dict[str, Any] = {}  # as the default command does it
TRAIN_BATCH, RECOVER_BATCH = "8", "16"
OFFICIAL = {"max_epoch": 15, "warmup_epochs": 1, "no_aug_epochs": 3, "eval_interval": 5}
MASK = {"share": 0.49}
ALONE = {"teacher": None}
UNIFORM = {**HALF, "criterion": "l2", "ranking": "layer"}

VARIANTS: dict[str, dict[str, Any]] = {
    "half": {"prune": HALF, "adapt": ADAPT, "recover": RECOVER},
    "masked": {"mask": MASK, "adapt": ADAPT, "recover": RECOVER},
    "both": {"mask": MASK, "prune": HALF, "adapt": ADAPT, "recover": RECOVER},
    "half, bare, official fine-tune": {"prune": HALF, "adapt": None, "recover": OFFICIAL},
    "half, not adapted": {"prune": HALF, "adapt": None, "recover": RECOVER},
    "half, no teacher": {"prune": HALF, "adapt": ADAPT, "recover": ALONE},
    "half, same ratio everywhere": {
        "prune": {**HALF, "ranking": "layer"},
        "adapt": ADAPT,
        "recover": RECOVER,
    },
    "half, l2, same ratio everywhere": {"prune": UNIFORM, "adapt": ADAPT, "recover": RECOVER},
    "half, l2, same ratio, bare, official fine-tune": {
        "prune": UNIFORM,
        "adapt": None,
        "recover": OFFICIAL,
    },
}


class Bench:
    """Where everything lies."""

    def __init__(self, args: argparse.Namespace):
        self.out, self.weights = args.out, args.weights
        places = ["data_dir", str(args.data), "data_num_workers", str(args.workers)]
        self.options = places + args.options

    def dense(self, seed: int) -> Path:
        """The dense checkpoint of a seed, trained where it is not there."""
        name = f"dense{seed}"
        row = self.out / f"{name}.json"
        if not row.is_file():
            seconds = self._run(
                "tools/train.py",
                "-f",
                str(EXP),
                "-expn",
                name,
                "-c",
                str(self.weights),
                "-b",
                TRAIN_BATCH,
                *self.options,
                "output_dir",
                str(self.out),
                "seed",
                str(seed),
            )
            self._evaluate(self.out / name / "best_ckpt.pth", row, "dense", seed, seconds)
        return self.out / name / "best_ckpt.pth"

    def compressed(self, variant: str, seed: int) -> None:
        """One row, measured where it is not there."""
        folder = self._folder(variant, seed)
        row = self.out / f"{folder.name}.json"
        if row.is_file():
            return
        seconds = self._compress(variant, seed, "--until", "merge")
        adapted = folder / "adapted.pth"
        before = self._ap(adapted if adapted.is_file() else folder / "pruned.pth")["AP"]
        extra = {"before": before, "stages": json.loads((folder / "stages.json").read_text())}
        self._evaluate(folder / "merged.pth", row, variant, seed, seconds, extra)

    def control(self, seed: int) -> None:
        """The row to compare with: the dense model under the recovery of 'half'."""
        row = self.out / f"control{seed}.json"
        if not row.is_file():
            seconds = self._compress("half", seed, "--control", "--until", "control")
            tuned = self._folder("half", seed) / "control.pth"
            before = {"before": self._ap(self.dense(seed))["AP"]}
            self._evaluate(tuned, row, "control", seed, seconds, before)

    def _folder(self, variant: str, seed: int) -> Path:
        return self.out / f"{variant.replace(', ', '_').replace(' ', '-')}{seed}"

    def _compress(self, variant: str, seed: int, *words: str) -> float:
        """Run a variant's recipe; returns the seconds. Stages that were done before are kept."""
        folder = self._folder(variant, seed)
        recipe = self.out / f"{folder.name}.yaml"
        recipe.write_text(yaml.safe_dump(VARIANTS[variant], sort_keys=False))
        return self._run(
            "compress/prune.py",
            "--ckpt",
            str(self.dense(seed)),
            "--recipe",
            str(recipe),
            "--out",
            str(folder),
            "-f",
            str(EXP),
            "-b",
            RECOVER_BATCH,
            *words,
            *self.options,
            "seed",
            str(seed),
        )

    def _evaluate(self, ckpt: Path, row: Path, variant: str, seed: int, seconds: float, extra=None):
        found = {"variant": variant, "seed": seed, "seconds": seconds, **self._ap(ckpt)}
        row.write_text(json.dumps({**found, **(extra or {})}))

    def _ap(self, ckpt: Path) -> dict[str, Any]:
        found = self.out / f".{ckpt.parent.name}.json"
        words = ["-c", str(ckpt), "--json", str(found), "-b", TRAIN_BATCH, *self.options]
        self._run("tools/eval.py", "-f", str(EXP), *words)
        content = json.loads(found.read_text())
        return {key: content[key] for key in ("AP", "AP50", "params", "nonzero_params", "gflops")}

    def _run(self, script: str, *words: str) -> float:
        start = time.perf_counter()
        log = self.out / "log.txt"
        with log.open("a") as file:
            command = [sys.executable, str(ROOT / script), *words]
            subprocess.run(command, check=True, stdout=file, stderr=file)
        return time.perf_counter() - start


def table(out: Path) -> str:
    """Means over seeds, with every seed's AP."""
    rows = defaultdict(list)
    for path in sorted(out.glob("*.json")):
        found = json.loads(path.read_text())
        if not path.name.startswith("."):
            rows[found["variant"]].append(found)
    dense = statistics.mean(row["gflops"] for row in rows["dense"])
    params = statistics.mean(row["params"] for row in rows["dense"])
    lines = []
    for variant in ["dense", "control", *VARIANTS]:
        found = sorted(rows.get(variant, []), key=lambda row: row["seed"])
        if not found:
            continue

        def mean(key: str, found=found) -> float:
            return statistics.mean(row.get(key, float("nan")) for row in found)

        each = ", ".join(f"{row['AP']:.3f}" for row in found)
        lines.append(
            [
                variant,
                len(found),
                f"{mean('before'):.3f}",
                f"{mean('AP'):.3f}",
                each,
                f"{mean('AP50'):.3f}",
                f"{mean('params') / params:.3f}",
                f"{mean('nonzero_params') / params:.3f}",
                f"{mean('gflops') / dense:.3f}",
                f"{mean('seconds'):.0f}",
            ]
        )
    headers = [
        "model",
        "seeds",
        "AP before recovery",
        "AP",
        "each",
        "AP50",
        "params",
        "not zero",
        "MACs",
        "seconds",
    ]
    return tabulate(lines, headers=headers, tablefmt="github", disable_numparse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("YOLOX_outputs/bccd"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="*", default=["control", "half", "masked", "both"])
    parser.add_argument("--workers", type=int, default=1, help="data loader processes")
    parser.add_argument("options", nargs="*", help="KEY VALUE options of the experiment")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(args)
    for variant in args.variants:
        for seed in args.seeds:
            if variant == "control":
                bench.control(seed)
            else:
                bench.compressed(variant, seed)
    print(table(args.out))


if __name__ == "__main__":
    main()
