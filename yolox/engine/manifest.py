"""`manifest.json`: what was run, on what, from what, and what came of it."""

import math
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch

import yolox
from yolox import dist
from yolox.engine.provenance import git_state
from yolox.engine.records import MANIFEST
from yolox.engine.saving import best_path
from yolox.engine.state import Run
from yolox.files import file_hash, write_json


def manifest_path(folder: Path) -> Path:
    """The manifest of a run's folder."""
    return folder / MANIFEST


def write_manifest(run: Run, finished: bool, report_ap: float | None = None) -> None:
    """Write the manifest of a run, at its start and again when it has finished.

    report_ap: of the best checkpoint on the validation images, where others chose it.
    """
    best = best_path(run.folder)
    content = {
        "command": sys.argv,
        "run_id": run.run_id,
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
        "annotations": run.file_hashes,
        "fingerprints": run.fingerprints,
        "git": git_state(),
        "parent": run.parent,
        "step": run.step,
        "best_ap": run.best_ap if run.best_ap >= 0 else None,
        "best_ckpt_sha256": file_hash(best) if best.is_file() else None,
        "choice": _choice(run, report_ap),
    }
    write_json(manifest_path(run.folder), content, indent=2)


def _choice(run: Run, report_ap: float | None) -> dict[str, Any]:
    """Which images chose the best checkpoint, and what it reaches on those that did not."""
    chosen_on, reported_on = run.choice_dataset, run.eval_dataset
    known = report_ap is not None and not math.isnan(report_ap)
    return {
        "chosen_on": str(chosen_on.json_path),
        "images": len(chosen_on),
        "reported_on": str(reported_on.json_path),
        "apart": run.select_dataset is not None,
        "report_ap": report_ap if known else None,
    }
