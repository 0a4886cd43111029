"""Where a result comes from: the code's git state, the data's fingerprint, a file's ancestors."""

import hashlib
import subprocess
from pathlib import Path
from typing import Any, TypedDict

from yolox.data.dataset import DetectionDataset
from yolox.errors import DataError
from yolox.files import file_hash

CODE = Path(__file__).resolve().parent.parent.parent
GIT_SECONDS = 10  # a git that hangs (a network drive) does not stop a run


class Git(TypedDict):
    """The code's state. dirty: a tracked file was changed since the commit."""

    commit: str
    dirty: bool


class File(TypedDict):
    """A file and the hash that it had."""

    path: str
    sha256: str


def git_state(code: Path = CODE) -> Git | None:
    """The state of the code, or None where it is not a git checkout.

    Code that is installed inside another project's checkout has no state of its own.
    """
    top = _git(code, "rev-parse", "--show-toplevel")
    commit = _git(code, "rev-parse", "HEAD")
    changes = _git(code, "status", "--porcelain", "--untracked-files=no")
    if top is None or commit is None or changes is None or Path(top).resolve() != code.resolve():
        return None
    return {"commit": commit, "dirty": bool(changes)}


def data_fingerprint(dataset: DetectionDataset, full: bool = False) -> str:
    """SHA-256 over the annotation file's content and each image's path in the data folder and size.

    full: over the contents of the images, too. Raises DataError where an image is gone.
    """
    digest = hashlib.sha256(dataset.labels_hash().encode())
    for path in sorted(record.path for record in dataset.images):
        inside = (
            path.relative_to(dataset.data_dir) if path.is_relative_to(dataset.data_dir) else path
        )
        try:
            content = file_hash(path) if full else str(path.stat().st_size)
        except OSError as error:
            raise DataError(f"image {path}: {error.strerror}") from error
        digest.update(f"{inside.as_posix()}\0{content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def file_record(file: str | Path) -> File:
    """A file as records name it: its whole path and its hash."""
    return {"path": str(Path(file).resolve()), "sha256": file_hash(file)}


def lineage_entry(name: str, file: Path, parent: str | None) -> dict[str, Any]:
    """One artefact of a lineage. parent: the name of the entry that it was made from."""
    known = file_record(file)
    return {"name": name, "file": known["path"], "sha256": known["sha256"], "parent": parent}


def _git(folder: Path, *words: str) -> str | None:
    """What git says, or None where there is no git or no checkout."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
