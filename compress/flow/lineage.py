"""What was made from what in a compression run, for the report and for `yolox verify`."""

from collections.abc import Iterable
from typing import Any

from compress.flow.job import CONTROL, DENSE, Workspace, checkpoints
from compress.flow.ledger import Files
from compress.flow.stages import latest_name
from yolox.data.coco import CocoDataset
from yolox.engine.provenance import data_fingerprint, git_state, lineage_entry
from yolox.files import file_hash


def reported(space: Workspace, files: Files) -> Files:
    """The checkpoints that get a row: dense, control, and what lies between dense and the result.

    Masks that only served to score channels are no step on the way.
    """
    found = checkpoints(files)
    if "pruned" in found and space.recipe.adapt is not None:
        found.pop("masked", None)
    first = {name: found.pop(name) for name in (DENSE, CONTROL) if name in found}
    return {**first, **found}


def lineage(files: Files) -> list[dict[str, Any]]:
    """Every checkpoint with its hash and the name of the one that it was made from."""
    found = checkpoints(files)
    return [lineage_entry(name, path, _parent(name, files)) for name, path in found.items()]


def provenance(space: Workspace, files: Files) -> dict[str, Any]:
    """Lineage, data and code of a run."""
    sets = _data_sets(space)
    return {
        "lineage": lineage(files),
        "data": {
            "annotations": {str(d.json_path): file_hash(d.json_path) for d in sets},
            "fingerprint": data_fingerprint(sets[-1]) if sets else None,
        },
        "git": git_state(),
    }


def _data_sets(space: Workspace) -> list[CocoDataset]:
    """Those that were used; the one that AP was measured on is the last."""
    found: list[CocoDataset] = []
    if space.recipe.looks and isinstance(space.source, CocoDataset):
        found.append(space.source)
    elif space.recipe.recover:
        found.append(space.exp.get_dataset())
    if space.job.evaluated:
        found.append(space.exp.get_eval_dataset())
    return found


def _parent(name: str, files: Iterable[str]) -> str | None:
    if name == DENSE:
        return None
    if name in ("masked", "pruned", CONTROL):
        return DENSE
    if name in ("recovered", "merged"):
        return latest_name(files, before=name)
    return "pruned" if "pruned" in files else "masked"
