"""Whether a run's files are still what its records say: hashes, lineage, data.

A training run has its records in `manifest.json`, a compression run in `report.json`. Checkpoints
carry a hash of their content besides.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolox.data.coco import CocoDataset, load_json
from yolox.engine import checkpoint
from yolox.engine.provenance import data_fingerprint, git_state
from yolox.errors import DataError, YoloxError
from yolox.files import file_hash

MANIFEST, REPORT = "manifest.json", "report.json"
SHOWN = 12  # letters of a hash


@dataclass(frozen=True)
class Check:
    """One record and what was found. ok is None where a difference is no fault."""

    what: str
    recorded: str
    found: str
    ok: bool | None


@dataclass(frozen=True)
class Record:
    """What a run says of itself: its folder, and the content of its manifest or report."""

    folder: Path
    content: dict[str, Any]

    @property
    def is_compression(self) -> bool:
        """Whether it is a compression's report."""
        return "stages" in self.content

    def part(self, *keys: str) -> Any:
        """A value inside. Raises DataError naming the key that is absent or of another kind."""
        value: Any = self.content
        for number, key in enumerate(keys, 1):
            if not isinstance(value, Mapping) or key not in value:
                raise DataError(f"{self.folder}: the record has no {'.'.join(keys[:number])}")
            value = value[key]
        return value


def read_record(folder: Path) -> Record:
    """The record of a run. Raises DataError where the folder has none."""
    for name in (REPORT, MANIFEST):
        if (folder / name).is_file():
            return Record(folder, load_json(folder / name))
    raise DataError(f"{folder} holds neither {MANIFEST} nor {REPORT}")


def check_files(record: Record) -> Iterator[Check]:
    """Hashes of every file that the record names, contents of checkpoints, lineage, code."""
    yield from _lineage(record) if record.is_compression else _training(record)
    was, now = record.content.get("git"), git_state()
    yield Check("code", _commit(was), _commit(now), True if was == now else None)


def check_content(path: Path) -> Check:
    """Whether a checkpoint can be read and its content has the hash that it carries."""
    what = f"content of {path.name}"
    try:
        content = checkpoint.read(path)
    except YoloxError as error:
        return Check(what, "", str(error), False)
    carried = content.get("sha256")
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


def check_data(record: Record, datasets: Mapping[str, CocoDataset]) -> Iterator[Check]:
    """Whether annotations and images are those of the run. datasets: by their role in the run.

    Annotations are compared by content, images by their paths and sizes in bytes.
    """
    recorded = record.content.get("fingerprints") or {}
    for role, fingerprint in recorded.items():
        if role in datasets:
            found = data_fingerprint(datasets[role])
            yield Check(f"{role} data", _short(fingerprint), _short(found), found == fingerprint)


def final_model(record: Record) -> tuple[Path, float | None]:
    """The checkpoint that a run is for, and the AP that is recorded of it on validation images."""
    if record.is_compression:
        last = record.part("stages")[-1]
        file = next(e["file"] for e in record.part("lineage") if e["name"] == last["name"])
        return _located(record, file), last["AP"]
    choice = record.part("choice")
    ap = choice["report_ap"] if choice["apart"] else record.part("best_ap")
    return record.folder / "best_ckpt.pth", ap


def _training(record: Record) -> Iterator[Check]:
    parent = record.content.get("parent")
    if parent:
        yield check_file("the checkpoint it began with", Path(parent["path"]), parent["sha256"])
    best = record.folder / "best_ckpt.pth"
    yield check_file(best.name, best, record.part("best_ckpt_sha256"))
    for path in sorted(record.folder.glob("*_ckpt.pth")):
        yield check_content(path)


def _lineage(record: Record) -> Iterator[Check]:
    entries = record.part("lineage")
    names = [entry["name"] for entry in entries]
    for entry in entries:
        path, parent = _located(record, entry["file"]), entry["parent"]
        yield check_file(entry["name"], path, entry["sha256"])
        if parent is not None and parent not in names:
            yield Check(f"what {entry['name']} was made from", parent, "not in the record", False)
        if path.is_file():
            yield check_content(path)
    dense, stated = entries[0]["sha256"], record.part("checkpoint", "sha256")
    yield Check("the checkpoint it began with", _short(stated), _short(dense), stated == dense)


def _located(record: Record, file: str) -> Path:
    """A file of the record: where it was, or in the folder that may have been moved since."""
    path = Path(file)
    moved = record.folder / path.name
    return moved if not path.is_file() and moved.is_file() else path


def _short(digest: object) -> str:
    return str(digest)[:SHOWN] if digest else ""


def _commit(state: Any) -> str:
    if not isinstance(state, Mapping):
        return "no git"
    return _short(state.get("commit")) + (" and changes" if state.get("dirty") else "")
