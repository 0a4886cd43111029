"""Manifests and reports of runs with something wrong in them, for the commands that read them."""

import json
import shutil
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz import command_lines
from tests.fuzz.values import VALUES, mutations
from yolox.files import file_hash

HASH = "b" * 64  # stands for that of the checkpoint
ROW = {"params": 10, "nonzero_params": 9, "macs": 1e6, "file_bytes": 100}
MANIFEST = {
    "finished": True,
    "git": {"commit": "a" * 40, "dirty": False},
    "parent": None,
    "step": 3,
    "best_ap": 0.5,
    "best_ckpt_sha256": HASH,
    "fingerprints": {"elsewhere": "c" * 64},
    "choice": {"chosen_on": "x", "images": 3, "apart": False, "report_ap": None},
}
REPORT = {
    "stages": [
        {
            "name": name,
            "AP": 0.5,
            "AP50": 0.5,
            "AP_low": 0.4,
            "AP_high": 0.6,
            "AP_differences": {"dense": {"value": 0.1, "low": 0.0, "high": 0.2}},
            "latency_ms": {"torch": 3.0},
            "note": "",
            **ROW,
        }
        for name in ("dense", "merged")
    ],
    "lineage": [
        {"name": "dense", "file": "good.pth", "sha256": HASH, "parent": None},
        {"name": "merged", "file": "good.pth", "sha256": HASH, "parent": "dense"},
    ],
    "checkpoint": {"path": "good.pth", "sha256": HASH},
    "git": None,
    "fingerprints": {"elsewhere": "c" * 64},
}

GOOD = {"manifest.json": MANIFEST, "report.json": REPORT}


@st.composite
def records(draw: st.DrawFn) -> tuple[str, str]:
    """The name of a record and its text."""
    name = draw(st.sampled_from(list(GOOD)))
    _, content = draw(mutations(GOOD[name], [*VALUES, "good.pth", HASH, {"commit": 3}]))
    return name, json.dumps(content)


def check(folder: Path, name: str, text: str) -> int:
    """The exit code of `yolox verify`. It, and the table of a report, end in one line or hold.

    folder: the working directory of the commands.
    """
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    (run / "best_ckpt.pth").hardlink_to(folder / "good.pth")
    (run / name).write_text(text.replace(HASH, file_hash(folder / "good.pth")))
    if name == "report.json":
        command_lines.check("report", [f"run/{name}"])
    return command_lines.check("verify", ["run"])
