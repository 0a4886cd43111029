"""What every annotation format is read into and written from."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

from yolox.data.annotations import LARGEST_SIDE, Identifier, is_writable
from yolox.data.problems import Problem
from yolox.errors import DataError
from yolox.values import shown

Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class AnnotatedObject:
    """One object. label: number among the classes. corners: x1, y1, x2, y2 in pixels, as edges.

    difficult, crowd: as VOC and COCO mean them. id, area (pixels): where the format has them.
    """

    label: int
    corners: Corners
    difficult: bool = False
    crowd: bool = False
    id: Identifier | None = None
    area: float | None = None


@dataclass(frozen=True)
class AnnotatedImage:
    """One image: its file, its size in pixels, and its objects. id: where the format has one."""

    path: Path
    width: int
    height: int
    objects: tuple[AnnotatedObject, ...]
    id: Identifier | None = None


@dataclass(frozen=True)
class AnnotatedSet:
    """Annotations of images.

    category_ids: one for each class, where the format has them. problems: objects that were left
    out, and boxes that leave their image, which stay.
    """

    class_names: tuple[str, ...]
    images: tuple[AnnotatedImage, ...]
    category_ids: tuple[int, ...] | None = None
    problems: tuple[Problem, ...] = field(default=())

    def counts(self) -> Counter[str]:
        """Objects of each class."""
        return Counter(
            self.class_names[found.label] for image in self.images for found in image.objects
        )


def without_difficult(found: AnnotatedSet) -> AnnotatedSet:
    """The same without the objects that are difficult."""
    images = tuple(
        replace(image, objects=tuple(item for item in image.objects if not item.difficult))
        for image in found.images
    )
    return replace(found, images=images)


@dataclass(frozen=True)
class NamedObject:
    """An object as files name it, before its class has a number. where: its place, for messages."""

    name: str
    corners: Corners
    where: str
    difficult: bool = False
    crowd: bool = False


class Collector:
    """Puts a data set together from named objects, image by image, and checks them.

    classes: in order; None takes those that occur, sorted. Raises DataError for one named twice.
    """

    def __init__(self, source: Path, classes: Sequence[str] | None):
        self._source, self._classes = source, classes
        if classes is not None and len(set(classes)) != len(classes):
            raise DataError(f"{source}: class names {list(classes)}: one stands twice")
        self._images: list[tuple[Path, tuple[int, int], list[NamedObject]]] = []
        self._seen: dict[Path, str] = {}

    def add(
        self, path: Path, size_wh: tuple[int, int], objects: Sequence[NamedObject], where: str
    ) -> None:
        """One image with its objects. Raises DataError where it was there already, or an object has
        a name that cannot be written or a box that is none.
        """
        if path in self._seen:
            raise DataError(f"{where}: {path.name} is annotated by {self._seen[path]}, too")
        self._seen[path] = where
        for found in objects:
            if not is_writable(found.name) or not all(
                abs(value) <= LARGEST_SIDE for value in found.corners
            ):
                raise DataError(f"{found.where}: {shown(found.name)} at {found.corners}")
        self._images.append((path, size_wh, list(objects)))

    def result(self) -> AnnotatedSet:
        """The data set. Raises DataError for an unknown class, and where there is no image."""
        if not self._images:
            raise DataError(f"{self._source}: no annotated image")
        names = self._classes
        if names is None:
            names = sorted({found.name for _, _, objects in self._images for found in objects})
        label_of = {name: label for label, name in enumerate(names)}
        problems: list[Problem] = []
        images = []
        for path, size_wh, objects in self._images:
            kept = []
            for found in objects:
                label = label_of.get(found.name)
                if label is None:
                    raise DataError(f"{found.where}: {unknown_class(found.name, names)}")
                problem = box_problem(found.corners, size_wh, found.where)
                problems += [problem] if problem is not None else []
                if problem is None or problem.kind != "zero_size":
                    kept.append(AnnotatedObject(label, found.corners, found.difficult, found.crowd))
            images.append(AnnotatedImage(path, *size_wh, tuple(kept)))
        return AnnotatedSet(tuple(names), tuple(images), problems=tuple(problems))


def unknown_class(name: str, known: Sequence[str]) -> str:
    """What to say of a class that is none of the known ones."""
    lowered = {one.lower(): one for one in known}
    match = get_close_matches(name.lower(), lowered, n=1, cutoff=0.0)
    hint = f"; the nearest known one is {lowered[match[0]]!r}" if match else ""
    return f"unknown class {shown(name)}{hint}"


def box_problem(corners: Corners, size_wh: tuple[int, int], where: str) -> Problem | None:
    """What is wrong with a box in an image of this width and height (pixels), if anything.

    where: the annotation file, a colon, and the place in it.
    """
    x1, y1, x2, y2 = corners
    width, height = size_wh
    if x2 <= x1 or y2 <= y1:
        kind = "zero_size"
    elif x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        kind = "outside_image"
    elif x1 < 0 or y1 < 0 or x2 > width or y2 > height:
        kind = "partly_outside"
    else:
        return None
    file, _, place = where.rpartition(": ")
    return Problem(kind, place, Path(file).name, f"{list(corners)} in {width} x {height}")
