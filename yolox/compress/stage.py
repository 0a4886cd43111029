"""What a stage of a compression is, and the artefacts that stages hand on."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from yolox.compress.job import CompressionJob
from yolox.compress.workspace import Workspace
from yolox.errors import UsageError

DENSE = "dense"  # the checkpoint that is compressed
CONTROL = "control"  # the dense model, tuned as long as the compressed one
PLAN, LABELS = "plan", "labels"
INT8 = "int8"  # an exported file; what was found of it, and OpenVINO's weights, lie beside it
INT8_FACTS, INT8_WEIGHTS = "int8_facts", "int8_weights"
NO_MODELS = (PLAN, LABELS, INT8_FACTS, INT8_WEIGHTS)
CHAIN = ("masked", "pruned", "adapted", "recovered", "merged")  # each is made from one before it


class Artefact(NamedTuple):
    """A file that a stage wrote. made_from: the name of the artefact whose weights it took up."""

    path: Path
    made_from: str | None = None


Artefacts = Mapping[str, Artefact]  # by the name of the report's row, or one of `NO_MODELS`


class Source(NamedTuple):
    """An artefact that a stage goes on from."""

    name: str
    path: Path


class Stage(ABC):
    """One stage.

    `run` sees what `given` returned, and nothing else of the job: whatever the result depends on is
    a field of it, and the fields are the key by which the ledger knows whether the stage is done.
    writes: files and folders in the output folder.
    """

    name: ClassVar[str]
    writes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def is_asked(self, job: CompressionJob) -> bool:
        """Whether the job's recipe has this stage."""

    @abstractmethod
    def given(self, job: CompressionJob, found: Artefacts) -> Any:
        """What the result depends on, a frozen dataclass. Raises DataError, UsageError.

        found: the artefacts of the stages before.
        """

    @abstractmethod
    def run(self, given: Any, workspace: Workspace, interrupted: bool) -> dict[str, Artefact]:
        """Do it. interrupted: it was begun before with the same `given`, and not finished."""


def latest(found: Artefacts, before: str) -> Source:
    """The artefact that a stage goes on from: the last of the chain before one of its names."""
    names = [name for name in (DENSE, *CHAIN[: CHAIN.index(before)]) if name in found]
    return Source(names[-1], found[names[-1]].path)


def models(found: Artefacts) -> dict[str, Artefact]:
    """The models among artefacts, by name."""
    return {name: artefact for name, artefact in found.items() if name not in NO_MODELS}


def require_input_kept(path: str | Path, out: Path, stages: Iterable[Stage]) -> None:
    """Raises UsageError where a stage would write an input anew."""
    folder, own = out.resolve(), Path(path).resolve()
    for stage in stages:
        if folder in own.parents and own.relative_to(folder).parts[0] in stage.writes:
            raise UsageError(
                f"{path} would be overwritten by the {stage.name} stage: name another --out"
            )
