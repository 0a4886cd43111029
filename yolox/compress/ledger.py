"""What was done already: a run that was interrupted goes on where it stopped.

`stages.json` beside the artefacts notes, for each stage, a hash of everything that went into it and
the hashes of what came out. A stage is done again when either has changed.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from loguru import logger

from yolox.data.coco import load_json
from yolox.engine.log import peak_memory_mb
from yolox.errors import DataError
from yolox.files import file_hash, text_hash, write_json

CPU = torch.device("cpu")

Files = dict[str, Path]  # what a stage wrote, by the name of the report's row or the artefact


class Ledger:
    """The stages of one output folder. again: names of stages that are done anew in any case.

    A damaged `stages.json` counts as an empty one, with a warning.
    """

    def __init__(self, folder: Path, again: tuple[str, ...] = ()):
        self._folder, self._path, self._again = folder, folder / "stages.json", again
        self._notes: dict[str, Any] = {}
        if self._path.is_file():
            try:
                self._notes = _sound(load_json(self._path))
            except (DataError, KeyError, TypeError, AttributeError) as error:
                logger.warning("{} ({!r}): all stages are done anew", self._path, error)
        self._taken: list[str] = []

    def run(self, name: str, inputs: Mapping[str, Any], work: Callable[[bool], Files]) -> Files:
        """Do a stage, or take what it wrote before.

        work(begun) does it; begun: it was started before with the same inputs and not finished.
        """
        given = text_hash(dict(inputs))
        self._taken.append(name)
        noted = self._notes.get(name, {})
        if name not in self._again and noted.get("inputs") == given:
            kept = self._unchanged(noted)
            if kept is not None:
                logger.info("{}: done before, kept", name)
                return kept
        begun = noted.get("inputs") == given and "files" not in noted
        self._note(name, {"inputs": given})
        logger.info("{}: begins", name)
        start = time.perf_counter()
        files = work(begun and name not in self._again)
        self._note(name, {
            "inputs": given,
            "files": {
                key: {"path": str(path.relative_to(self._folder)), "sha256": file_hash(path)}
                for key, path in files.items()
            },
            "seconds": round(time.perf_counter() - start, 2),
            "peak_mb_so_far": round(peak_memory_mb(CPU), 1),
        })  # fmt: skip
        return files

    def notes(self) -> dict[str, Any]:
        """What is noted of this run's stages.

        peak_mb_so_far: MiB, of the process that did the stage, from its start on.
        """
        return {name: self._notes[name] for name in self._taken}

    def _note(self, name: str, note: dict[str, Any]) -> None:
        self._notes[name] = note
        write_json(self._path, self._notes, indent=2)

    def _unchanged(self, noted: Mapping[str, Any]) -> Files | None:
        """The files of a finished stage, where all are as they were written."""
        if "files" not in noted:
            return None
        files = {}
        for key, entry in noted["files"].items():
            path = self._folder / entry["path"]
            if not path.is_file() or file_hash(path) != entry["sha256"]:
                logger.warning("{} is gone or was changed", path)
                return None
            files[key] = path
        return files


def _sound(notes: Any) -> dict[str, Any]:
    """Notes of the form that `Ledger` writes.

    Raises KeyError, TypeError or AttributeError for others.
    """
    for note in notes.values():
        for file in note.get("files", {}).values():
            if not {"path", "sha256"} <= set(file):
                raise KeyError("path or sha256")
    return dict(notes)
