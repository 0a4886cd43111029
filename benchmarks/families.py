"""Small members of every family, each trained for the same processor time, and compressed.

    python benchmarks/families.py --data datasets/demo --classes 4 --side 128 \
        --out YOLOX_outputs/families_demo \
        train_ann instances_train2017.json val_ann instances_val2017.json
    python benchmarks/families.py --data datasets/bccd --classes 3 --side 256 --budget 600 \
        --out YOLOX_outputs/families_bccd train_ann train val_ann val

Each family has the settings of its run in `exps/demo`. One epoch is trained first, to see how
many the budget has room for. The compression halves the MACs, tunes what is left with the dense
model as its teacher for half as many epochs, and tunes the dense model as long: the control.
Trailing KEY VALUE options are those of the experiments. What is there already is not done again;
--pretrained NAME=FILE gives a model a pretrained backbone.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from runs import option_words, run_command
from tabulate import tabulate

MODELS = (
    "yolox-nano",
    "centernet-hourglass-fire-light",
    "centernet-mobilenetv2",
    "centernet-efficientnet-b0",
    "efficientdet-d0",
)
BATCH = 8
SHARED: dict[str, object] = {
    "multiscale_range": 0,
    "random_size": None,
    "data_num_workers": 1,
    "mosaic_prob": 0.0,
    "enable_mixup": False,
    "optimizer": "adamw",
    "scheduler": "cos",
    "weight_decay": 0.02,
    "ema_decay": 0.99,
    "ema_warmup": 50.0,
    "warmup_epochs": 1,
    "save_history_ckpt": False,
    "eval_report": False,
}
OF_FAMILY: dict[str, dict[str, object]] = {  # as in exps/demo
    "yolox": {"basic_lr_per_img": 0.004 / BATCH},
    "centernet": {"basic_lr_per_img": 0.001 / BATCH},
    "efficientdet": {"basic_lr_per_img": 0.004 / BATCH, "weight_decay": 0.1, "drop_path": 0.0},
}
RECIPE = """
prune: {{macs: 0.5, images: 64}}
adapt: {{images: 128}}
recover: {{teacher: dense, optimizer: adamw, scheduler: cos, max_epoch: {epochs}, warmup_epochs: 1,
  no_aug_epochs: 1, eval_interval: {epochs}, basic_lr_per_img: 5.0e-5, ema_decay: 0.99,
  ema_warmup: 50.0}}
"""
ROWS = ("dense", "control", "merged")
RUNTIMES = ("torch", "onnxruntime")


class Bench:
    """Where everything lies."""

    def __init__(self, args: argparse.Namespace):
        self.out, self.budget = args.out, args.budget
        self.log = args.out / "log.txt"
        side = f"({args.side}, {args.side})"
        self.options = {
            **SHARED,
            "data_dir": args.data,
            "num_classes": args.classes,
            "input_size": side,
            "test_size": side,
            "output_dir": args.out,
        }
        self.more = list(args.options)
        self.pretrained = dict(pair.split("=", 1) for pair in args.pretrained)
        self.out.mkdir(parents=True, exist_ok=True)

    def train(self, model: str) -> tuple[Path, int]:
        """The best checkpoint of a model, and its epochs."""
        record = self.out / f"{model}.json"
        if not record.is_file():
            once = self._train(f"{model}-once", model, 1)
            epochs = max(2, int(self.budget / once))
            seconds = self._train(model, model, epochs)
            record.write_text(json.dumps({"epochs": epochs, "cpu_seconds": seconds}))
        return self.out / model / "best_ckpt.pth", json.loads(record.read_text())["epochs"]

    def _train(self, name: str, model: str, epochs: int) -> float:
        """Processor time of a training."""
        plain = {"no_aug_epochs": max(1, epochs // 5), "eval_interval": max(1, epochs // 2)}
        options = {**self.options, **plain, **OF_FAMILY[model.partition("-")[0]]}
        options["max_epoch"] = epochs
        if model in self.pretrained:
            options["pretrained_backbone"] = self.pretrained[model]
        words = ["-n", model, "-expn", name, "-b", BATCH, *self.more, *option_words(options)]
        return run_command(self.log, "tools/train.py", *words)

    def stages(self, model: str) -> dict[str, dict[str, Any]]:
        """Rows of the report of a model's compression, by their names."""
        ckpt, epochs = self.train(model)
        out = self.out / f"{model}.sparse"
        report = out / "report.json"
        if not report.is_file():
            recipe = self.out / f"{model}.yaml"
            recipe.write_text(RECIPE.format(epochs=max(2, epochs // 2)))
            words = ["--ckpt", ckpt, "--recipe", recipe, "--out", out, "-b", BATCH, "--control"]
            words += ["--backends", ",".join(RUNTIMES)]
            run_command(self.log, "compress/prune.py", *words)
        return {row["name"]: row for row in json.loads(report.read_text())["stages"]}


def table(found: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]]) -> str:
    """A row for the dense, the control's and the merged model of each."""
    lines = []
    for model, (trained, stages) in found.items():
        for name in ROWS:
            row = stages[name]
            first = [model, trained["epochs"], round(trained["cpu_seconds"])]
            times = row["latency_ms"]
            lines.append(
                [
                    *(first if name == "dense" else ["", "", ""]),
                    name,
                    row["AP"],
                    row["AP50"],
                    row["params"] / 1e6,
                    row["macs"] / 1e9,
                    *(1000 / times[key] if key in times else None for key in RUNTIMES),
                    row["peak_mb"].get("torch"),
                    row["file_bytes"] / 1e6,
                ]
            )
    heads = ["model", "epochs", "CPU s", "row", "AP", "AP50", "params M", "GMACs"]
    heads += [f"FPS, {name}" for name in RUNTIMES]
    heads += ["memory MB", "file MB"]
    return tabulate(lines, headers=heads, tablefmt="github", floatfmt=".4g", missingval="")


def main() -> None:
    """Train, compress and print the table after every model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--classes", type=int, required=True)
    parser.add_argument("--side", type=int, required=True, help="pixels, a multiple of 128")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=300.0, help="seconds of processor time")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--pretrained", nargs="+", default=[], metavar="NAME=FILE")
    parser.add_argument("options", nargs="*", help="KEY VALUE options of the experiments")
    args = parser.parse_args()
    bench = Bench(args)
    found = {}
    for model in args.models:
        stages = bench.stages(model)
        trained = json.loads((args.out / f"{model}.json").read_text())
        found[model] = (trained, stages)
        print(table(found), flush=True)


if __name__ == "__main__":
    main()
