"""What can be wrong with a data set and still be lived with: kinds, and how they are told."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from loguru import logger

from yolox.data.sample import Float64

#: Kinds that stop training.
FATAL = ("unknown_category", "unknown_image")
#: Kinds that leave an annotation out of the training targets. With every other kind it stays.
#: annotations in the file = boxes trained on + crowd boxes + problems of these kinds.
LEFT_OUT = (*FATAL, "bad_box", "zero_size", "outside_image")
SLACK = 1.0  # pixels by which a box may leave its image without a word
FEW_BOXES, FEW_SHARE = 5, 0.05  # fewer boxes, or a smaller share, may be chance


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


@dataclass
class Overhang:
    """How many boxes reach beyond edges of their images: left or upper ones, right or lower ones.

    Boxes that a labeller drew too large do both. boxes: how many were looked at.
    """

    boxes: int = 0
    low: int = 0
    high: int = 0

    @classmethod
    def of(cls, boxes_xywh: Float64, sizes_wh: Float64) -> "Overhang":
        """Of boxes [N, 4] and the sizes of their images [N, 2]."""
        low = boxes_xywh[:, :2] < -SLACK
        high = boxes_xywh[:, :2] + boxes_xywh[:, 2:] > sizes_wh + SLACK
        return cls(len(boxes_xywh), int(low.any(axis=1).sum()), int(high.any(axis=1).sum()))

    def warning(self) -> str | None:
        """A line where boxes lie as if centres had been written as corners, else None."""
        if self.low or self.high < max(FEW_BOXES, self.boxes * FEW_SHARE):
            return None
        return (
            f"{self.high} of {self.boxes} boxes reach beyond the right or lower edge of their "
            "image and none beyond the left or upper one: as if centres were written where the "
            "format has upper left corners, or width and height were swapped (draw them: "
            "yolox doctor --page)"
        )


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
