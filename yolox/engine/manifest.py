"""`manifest.json`: what was run, on what, from what, and what came of it."""

import platform
import sys
import time

import torch

import yolox
from yolox import dist
from yolox.engine.state import Run
from yolox.files import file_hash, write_json


def write_manifest(run: Run, finished: bool) -> None:
    """Write the manifest of a run, at its start and again when it has finished."""
    best = run.folder / "best_ckpt.pth"
    content = {
        "command": sys.argv,
        "finished": finished,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": {
            "yolox": yolox.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "device": str(run.options.device),
        "processes": dist.world_size(),
        "precision": run.options.precision,
        "batch_size": run.options.batch_size,
        "exp": {"name": run.exp.exp_name, "options": run.exp.options()},
        "annotations": {
            str(d.json_path): file_hash(d.json_path) for d in (run.dataset, run.eval_dataset)
        },
        "parent": run.parent,
        "step": run.step,
        "best_ap": run.best_ap,
        "best_ckpt_sha256": file_hash(best) if best.is_file() else None,
    }
    write_json(run.folder / "manifest.json", content, indent=2)
