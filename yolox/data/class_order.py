"""Whether a model and its data sets mean the same classes by the same numbers.

Names in another order train and evaluate without an error, and the results are wrong.
"""

from collections import Counter
from collections.abc import Sequence

from yolox.data.dataset import DetectionDataset
from yolox.data.problems import warn_once
from yolox.errors import DataError
from yolox.values import shown


def require_same_order(names: Sequence[str] | None, dataset: DetectionDataset, where: str) -> None:
    """Compare the class names that a model states with those of a data set.

    where: what states the names, for messages. Names that stand for unknown ones (`class 0`, ...)
    are not compared, nor are names of another number.
    Raises DataError where the data set has the same names in another order; where names differ
    otherwise (a class was renamed), that is a warning.
    """
    if names is None or len(names) != len(dataset.class_names) or _is_placeholder(names):
        return
    difference = first_difference(names, dataset.class_names)
    if difference is None:
        return
    text = f"{where} and {dataset.json_path} differ in their classes: {difference}"
    if Counter(names) == Counter(dataset.class_names):
        raise DataError(f"{text}; the same names stand in another order")
    warn_once(text)


def require_same_split(train: DetectionDataset, val: DetectionDataset) -> None:
    """Raises DataError where two splits of a data set differ in their class names or their order.

    The same names with other category ids are a warning: every split is read by its own ids.
    """
    files = f"{train.json_path} and {val.json_path} differ in their"
    difference = first_difference(train.class_names, val.class_names)
    if difference is not None:
        raise DataError(f"{files} classes: {difference}")
    for name, one, other in zip(
        train.class_names, train.category_ids, val.category_ids, strict=True
    ):
        if one != other:
            warn_once(f"{files} category ids: {shown(name)} is {one} and {other}")
            return


def first_difference(one: Sequence[str], other: Sequence[str]) -> str | None:
    """The first position (from 0) at which two lists of names differ, in words."""
    for number, (first, second) in enumerate(zip(one, other, strict=False)):
        if first != second:
            return f"class {number} is {shown(first)} and {shown(second)}"
    return None if len(one) == len(other) else f"there are {len(one)} and {len(other)}"


def _is_placeholder(names: Sequence[str]) -> bool:
    """Whether these are the names given to classes whose names nobody stated."""
    return tuple(names) == tuple(f"class {number}" for number in range(len(names)))
