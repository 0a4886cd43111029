"""Whether a run's files are still what its records say: hashes, lineage, data.

A training run has its records in `manifest.json`, a compression run in `report.json`. Checkpoints
carry a hash of their content besides.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from yolox.data.dataset import DetectionDataset
from yolox.engine import checkpoint
from yolox.engine.provenance import Git, data_fingerprint, git_state
from yolox.engine.records import Manifest, Record, Report
from yolox.errors import DataError, YoloxError
from yolox.files import file_hash
from yolox.values import shown

SHOWN = 12  # letters of a hash
EXPORTED = (".onnx", ".xml")  # files that carry no hash of their content


@dataclass(frozen=True)
class Check:
    """One record and what was found. ok is None where a difference is no fault."""

    what: str
    recorded: str
    found: str
    ok: bool | None


def check_files(record: Record) -> Iterator[Check]:
    """Hashes of every file that the record names, contents of checkpoints, lineage, code."""
    if record.report is not None:
        yield from _compression(record.folder, record.report)
    elif record.manifest is not None:
        yield from _training(record.folder, record.manifest)
    was, now = record.git, git_state()
    yield Check("code", _commit(was), _commit(now), True if was == now else None)


def check_content(path: Path) -> Check:
    """Whether a checkpoint can be read and its content has the hash that it carries."""
    what = f"content of {path.name}"
    try:
        _, carried = checkpoint.read_hashed(path)
    except YoloxError as error:
        return Check(what, "", str(error), False)
    found = "as hashed" if carried else "readable, carries no hash"
    return Check(what, _short(carried), found, True if carried else None)


def check_file(what: str, path: Path, recorded: str | None) -> Check:
    """Whether a file is there with the hash that was recorded."""
    if recorded is None:
        return Check(what, "", "nothing recorded", None)
    if not path.is_file():
        return Check(what, _short(recorded), f"{path} is absent", False)
    found = file_hash(path)
    return Check(what, _short(recorded), _short(found), found == recorded)


def check_data(record: Record, datasets: Mapping[str, DetectionDataset]) -> Iterator[Check]:
    """Whether annotations and images are those of the run. datasets: by their role in the run.

    Annotations are compared by content, images by their paths and sizes in bytes.
    """
    for role, fingerprint in record.fingerprints.items():
        if role in datasets:
            found = data_fingerprint(datasets[role])
            yield Check(f"{role} data", _short(fingerprint), _short(found), found == fingerprint)


def final_model(record: Record) -> tuple[Path, float | None]:
    """The checkpoint that a run is for, and the AP that is recorded of it on validation images.

    Raises DataError where a report's last row has no file.
    """
    if record.report is not None:
        last, files = record.report["stages"][-1], record.report["lineage"]
        found = [entry["file"] for entry in files if entry["name"] == last["name"]]
        if not found:
            raise DataError(f"{record.folder}: the record names no file of {shown(last['name'])}")
        return _located(record.folder, found[0]), last["AP"]
    assert record.manifest is not None
    choice = record.manifest["choice"]
    ap = choice["report_ap"] if choice["apart"] else record.manifest["best_ap"]
    return record.folder / "best_ckpt.pth", ap


def stating_experiment(record: Record) -> Path:
    """The final model's file, or the last checkpoint where that is none: it names its experiment.

    Raises DataError like `final_model`.
    """
    model, _ = final_model(record)
    if model.suffix not in EXPORTED or record.report is None:
        return model
    files = [Path(entry["file"]) for entry in record.report["lineage"]]
    return _located(record.folder, str([f for f in files if f.suffix not in EXPORTED][-1]))


def _training(folder: Path, manifest: Manifest) -> Iterator[Check]:
    parent = manifest["parent"]
    if parent is not None:
        yield check_file("the checkpoint it began with", Path(parent["path"]), parent["sha256"])
    best = folder / "best_ckpt.pth"
    yield check_file(best.name, best, manifest["best_ckpt_sha256"])
    for path in sorted(folder.glob("*_ckpt.pth")):
        yield check_content(path)


def _compression(folder: Path, report: Report) -> Iterator[Check]:
    entries = report["lineage"]
    names = [entry["name"] for entry in entries]
    for entry in entries:
        path, parent = _located(folder, entry["file"]), entry["parent"]
        yield check_file(entry["name"], path, entry["sha256"])
        if parent is not None and parent not in names:
            yield Check(f"what {entry['name']} was made from", parent, "not in the record", False)
        if path.is_file() and path.suffix not in EXPORTED:
            yield check_content(path)
    dense, stated = entries[0]["sha256"], report["checkpoint"]["sha256"]
    yield Check("the checkpoint it began with", _short(stated), _short(dense), stated == dense)


def _located(folder: Path, file: str) -> Path:
    """A file of the record: where it was, or in the run's folder, which may have been moved."""
    path = Path(file)
    moved = folder / path.name
    return moved if not path.is_file() and moved.is_file() else path


def _short(digest: object) -> str:
    return str(digest)[:SHOWN] if digest else ""


def _commit(state: Git | None) -> str:
    if state is None:
        return "no git"
    return _short(state["commit"]) + (" and changes" if state["dirty"] else "")
