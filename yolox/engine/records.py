"""What runs say of themselves: `manifest.json` of a training, `report.json` of a compression.

The keys here are those that `yolox verify` reads; the files hold more.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from yolox.data.annotations import load_json
from yolox.engine.provenance import File, Git
from yolox.errors import DataError, UsageError
from yolox.values import check_keys

MANIFEST, REPORT = "manifest.json", "report.json"


class Choice(TypedDict):
    """Whether the best checkpoint was chosen on other images than it is reported on, and its AP."""

    apart: bool
    report_ap: float | None


class Options(TypedDict):
    """The options of the experiment."""

    options: dict[str, Any]


class Provenance(TypedDict, total=False):
    """Data, code and experiment; records of earlier versions lack them."""

    fingerprints: dict[str, str]
    git: Git | None
    exp: Options


class Manifest(Provenance):
    """The record of a training."""

    parent: File | None
    best_ckpt_sha256: str | None
    best_ap: float | None
    choice: Choice


class Artefact(TypedDict):
    """One checkpoint of a compression. parent: the name of the one that it was made from."""

    name: str
    file: str
    sha256: str
    parent: str | None


class Row(TypedDict):
    """What was measured of one checkpoint."""

    name: str
    AP: float | None


class Report(Provenance):
    """The record of a compression."""

    stages: list[Row]
    lineage: list[Artefact]
    checkpoint: File


@dataclass(frozen=True)
class Record:
    """A run's folder, and its manifest or its report: exactly one of them."""

    folder: Path
    manifest: Manifest | None
    report: Report | None

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of the data, by their role."""
        return self._either.get("fingerprints", {})

    @property
    def options(self) -> dict[str, Any]:
        """Of the experiment, as it ran."""
        found = self._either.get("exp")
        return {} if found is None else found["options"]

    @property
    def git(self) -> Git | None:
        """Of the code."""
        return self._either.get("git")

    @property
    def _either(self) -> Provenance:
        found = self.manifest if self.report is None else self.report
        assert found is not None
        return found


def read_record(folder: Path) -> Record:
    """The record of a run: of a compression, where there are both.

    Raises DataError where the folder has none, and naming file and key where one is damaged.
    """
    if (folder / REPORT).is_file():
        report = _read(folder / REPORT, Report)
        if not report["stages"] or not report["lineage"]:
            raise DataError(f"{folder / REPORT}: stages or lineage is empty")
        return Record(folder, None, report)
    if (folder / MANIFEST).is_file():
        return Record(folder, _read(folder / MANIFEST, Manifest), None)
    raise DataError(f"{folder} holds neither {MANIFEST} nor {REPORT}")


def _read(path: Path, kind: Any) -> Any:
    content = load_json(path)
    try:
        check_keys("record", content, kind)
    except UsageError as error:
        raise DataError(f"{path}: {error}") from error
    return content
