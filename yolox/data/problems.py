"""What can be wrong with a data set and still be lived with: kinds, and how they are told."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from loguru import logger

#: Kinds that stop training.
FATAL = ("unknown_category", "unknown_image")
#: Kinds that leave an annotation out of the training targets. With every other kind it stays.
#: annotations in the file = boxes trained on + crowd boxes + problems of these kinds.
LEFT_OUT = (*FATAL, "bad_box", "zero_size", "outside_image")


@dataclass(frozen=True)
class Problem:
    """Something wrong with one annotation: what kind, which annotation, and the value."""

    kind: str
    annotation_id: object
    file_name: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.detail}"

    @property
    def where(self) -> str:
        """The file, and the annotation where there is one."""
        if self.annotation_id is None:
            return self.file_name
        return f"annotation {self.annotation_id} of {self.file_name}"


def summary(problems: Sequence[Problem]) -> list[str]:
    """A line for each kind of problem: how many there are, and the first."""
    first: dict[str, Problem] = {}
    counts: dict[str, int] = {}
    for problem in problems:
        first.setdefault(problem.kind, problem)
        counts[problem.kind] = counts.get(problem.kind, 0) + 1
    return [
        f"{count} x {kind}, first: {first[kind].where}: {first[kind].detail}"
        for kind, count in counts.items()
    ]


@cache
def warn_once(message: str) -> None:
    """Log a warning that this process has not logged before."""
    logger.warning("{}", message)
