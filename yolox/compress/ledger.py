"""What was done already: a run that was interrupted goes on where it stopped.

`stages.json` beside the artefacts notes, for each stage, a hash of each thing that went into it and
the hashes of what came out. A stage is done again when any of them has changed.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from loguru import logger

from yolox.compress.stage import Artefact
from yolox.data.annotations import load_json
from yolox.engine.meters import peak_memory_mb
from yolox.errors import DataError
from yolox.files import file_hash, text_hash, write_json

CPU = torch.device("cpu")

Written = dict[str, Artefact]


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

    def run(self, name: str, given: Mapping[str, Any], work: Callable[[bool], Written]) -> Written:
        """Do a stage, or take what it wrote before.

        given: what its result depends on, as fingerprints by name. work(interrupted) does it;
        interrupted: it was begun before with the same `given` and not finished.
        """
        inputs = {key: text_hash({key: value}) for key, value in given.items()}
        self._taken.append(name)
        noted = self._notes.get(name, {})
        same = noted.get("inputs") == inputs
        if noted and not same:
            logger.info("{}: other {}", name, _changed(noted, inputs))
        again = name in self._again
        if same and not again:
            kept = self._unchanged(noted)
            if kept is not None:
                logger.info("{}: done before, kept", name)
                return kept
        self._note(name, {"inputs": inputs})
        logger.info("{}: begins", name)
        start = time.perf_counter()
        written = work(same and "files" not in noted and not again)
        self._note(
            name,
            {
                "inputs": inputs,
                "files": {key: self._entry(artefact) for key, artefact in written.items()},
                "seconds": round(time.perf_counter() - start, 2),
                "peak_mb_so_far": round(peak_memory_mb(CPU), 1),
            },
        )
        return written

    def notes(self) -> dict[str, Any]:
        """What is noted of this run's stages.

        peak_mb_so_far: MiB, of the process that did the stage, from its start on.
        """
        return {name: self._notes[name] for name in self._taken}

    def _note(self, name: str, note: dict[str, Any]) -> None:
        self._notes[name] = note
        write_json(self._path, self._notes, indent=2)

    def _entry(self, artefact: Artefact) -> dict[str, Any]:
        path = str(artefact.path.relative_to(self._folder))
        return {"path": path, "sha256": file_hash(artefact.path), "made_from": artefact.made_from}

    def _unchanged(self, noted: Mapping[str, Any]) -> Written | None:
        """What a finished stage wrote, where all files are as they were written."""
        if "files" not in noted:
            return None
        written = {}
        for key, entry in noted["files"].items():
            path = self._folder / entry["path"]
            if not path.is_file() or file_hash(path) != entry["sha256"]:
                logger.warning("{} is gone or was changed", path)
                return None
            written[key] = Artefact(path, entry["made_from"])
        return written


def _changed(noted: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The names of what changed; all of them where the notes are another version's."""
    former = noted.get("inputs")
    known = former if isinstance(former, dict) else {}
    keys = [key for key in {**known, **inputs} if known.get(key) != inputs.get(key)]
    return " and ".join(keys)


def _sound(notes: Any) -> dict[str, Any]:
    """Notes of the form that `Ledger` writes.

    Raises KeyError, TypeError or AttributeError for others.
    """
    for note in notes.values():
        for file in note.get("files", {}).values():
            if missing := {"path", "sha256", "made_from"} - set(file):
                raise KeyError(min(missing))
    return dict(notes)
