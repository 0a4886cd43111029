"""What was made from what in a compression run, for the report and for `yolox verify`."""

from collections.abc import Iterable
from typing import Any

from yolox.compress.ledger import Files
from yolox.compress.stages import latest_name
from yolox.compress.workspace import CONTROL, DENSE, Workspace, checkpoints
from yolox.data.coco import CocoDataset
from yolox.engine.provenance import data_fingerprint, git_state, lineage_entry


def reported(workspace: Workspace, files: Files) -> Files:
    """The checkpoints that get a row: dense, control, and what lies between dense and the result.

    Masks that only served to score channels are no step on the way.
    """
    found = checkpoints(files)
    if "pruned" in found and workspace.recipe.adapt is not None:
        found.pop("masked", None)
    first = {name: found.pop(name) for name in (DENSE, CONTROL) if name in found}
    return {**first, **found}


def lineage(files: Files) -> list[dict[str, Any]]:
    """Every checkpoint with its hash and the name of the one that it was made from."""
    found = checkpoints(files)
    return [lineage_entry(name, path, _parent(name, files)) for name, path in found.items()]


def provenance(workspace: Workspace, files: Files) -> dict[str, Any]:
    """Lineage, data and code of a run."""
    return {
        "lineage": lineage(files),
        "fingerprints": {role: data_fingerprint(d) for role, d in _data_sets(workspace).items()},
        "git": git_state(),
    }


def _data_sets(workspace: Workspace) -> dict[str, CocoDataset]:
    """The labelled data that were used, by their role."""
    exp, found = workspace.exp, {}
    calibrates = workspace.recipe.needs_images and workspace.job.calibration is None
    if calibrates or workspace.recipe.recover:
        found["training"] = exp.get_dataset()
    if workspace.job.evaluated:
        found["validation"] = exp.get_eval_dataset()
    return found


def _parent(name: str, files: Iterable[str]) -> str | None:
    if name == DENSE:
        return None
    if name in ("masked", "pruned", CONTROL):
        return DENSE
    if name in ("recovered", "merged"):
        return latest_name(files, before=name)
    return "pruned" if "pruned" in files else "masked"
