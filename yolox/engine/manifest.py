"""`manifest.json`: what was run, on what, from what, and what came of it."""

import hashlib
import platform
import sys
import time
from pathlib import Path

import torch

import yolox
from yolox import dist
from yolox.engine.state import Run
from yolox.files import write_json


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_manifest(run: Run, finished: bool) -> None:
    """Write the manifest of a run, at its start and again when it has finished."""
    parent = run.options.ckpt
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
        "parent": {"path": parent, "sha256": file_hash(parent)} if parent else None,
        "step": run.step,
        "best_ap": run.best_ap,
        "best_ckpt_sha256": file_hash(best) if best.is_file() else None,
    }
    write_json(run.folder / "manifest.json", content, indent=2)
