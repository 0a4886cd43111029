"""Reading what a compression has reported."""

from pathlib import Path
from typing import NamedTuple

from yolox.compress.report.measure import ReportRow
from yolox.data.annotations import load_json
from yolox.errors import DataError, UsageError
from yolox.values import check_value


class Report(NamedTuple):
    """The rows of a `report.json`, on which images was chosen, and the sentences at its end."""

    rows: list[ReportRow]
    chosen_on: str | None
    words: list[str]


def read_report(path: Path) -> Report:
    """Read a `report.json`. Raises DataError naming the file and the key that is wrong."""
    content = load_json(path)
    rows, chosen_on = content.get("stages"), content.get("chosen_on")
    words = content.get("words", [])
    try:
        check_value("stages", rows, list)
        check_value("chosen_on", chosen_on, str | None)
        check_value("words", words, list)
        for number, sentence in enumerate(words):
            check_value(f"words[{number}]", sentence, str)
        found = [ReportRow.from_json(row, f"stages[{n}]") for n, row in enumerate(rows or [])]
    except UsageError as error:
        raise DataError(f"{path} is not a compression report: {error}") from error
    return Report(found, chosen_on, words)
