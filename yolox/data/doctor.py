"""A check of a data set before it is trained on: counts, sizes, and everything that is wrong.

Every problem names its file and, where there is one, the annotation, so that it can be mended.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tabulate import tabulate

from yolox.data.annotations import ImageRecord, finite_box, plain_id
from yolox.data.coco_classes import unique_names
from yolox.data.dataset import DetectionDataset, size_problem
from yolox.data.draw import draw_boxes
from yolox.data.image import header_size, is_cut_off, read_bytes
from yolox.data.problems import FATAL, Problem
from yolox.data.sample import Float32, UInt8
from yolox.errors import DataError, UsageError
from yolox.files import whole_file
from yolox.values import shown

#: Kinds of problem with an image that stop training, beside those of the annotations.
FATAL_IMAGES = ("missing_image", "unreadable_image", "cut_off_image")
SIZE_LIMITS = (32.0**2, 96.0**2)  # pixels of area: COCO's small, medium and large
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
EXAMPLES = 3  # problems of a kind that the text shows
CELL = 320  # pixels: side of one picture on the page of targets
COLUMNS = 4


@dataclass(frozen=True)
class Report:
    """What `examine` found.

    boxes, class_counts, size_counts and the quantiles speak of the boxes that are trained on.
    images_without_boxes: images that have none of these.
    size_counts: boxes by COCO's small, medium and large, by the area of the clipped box.
    side_quantiles: quantile -> square root of a box's area, pixels.
    per_image_quantiles: quantile -> boxes of an image.
    """

    json_path: Path
    images: int
    images_without_boxes: int
    boxes: int
    crowd_boxes: int
    category_ids: tuple[int, ...]
    class_counts: dict[str, int]
    size_counts: dict[str, int]
    side_quantiles: dict[str, float]
    per_image_quantiles: dict[str, float]
    problems: tuple[Problem, ...]

    @property
    def problem_counts(self) -> Counter[str]:
        """Number of problems of each kind."""
        return Counter(problem.kind for problem in self.problems)

    @property
    def fatal_counts(self) -> dict[str, int]:
        """Number of problems of each kind that stops training."""
        counts = self.problem_counts
        return {kind: counts[kind] for kind in (*FATAL, *FATAL_IMAGES) if counts[kind]}

    @property
    def fatal(self) -> bool:
        """Whether training on the data set would stop."""
        return bool(self.fatal_counts)

    @property
    def unused_classes(self) -> list[str]:
        """Classes without any box."""
        return [name for name, count in self.class_counts.items() if count == 0]

    @property
    def has_contiguous_ids(self) -> bool:
        """Whether the category ids follow each other without a gap."""
        return self.category_ids[-1] - self.category_ids[0] + 1 == len(self.category_ids)


def examine(data_dir: str | Path, json_file: str, name: str, allow_outside: bool = False) -> Report:
    """Check the data set that `DetectionDataset` reads with the same arguments.

    Every image file is read once. Raises DataError where the annotation file itself cannot be
    used; everything else is in the report.
    """
    dataset = DetectionDataset(data_dir, json_file, name, strict=False, allow_outside=allow_outside)
    annotations = dataset.stated_annotations()
    targets = [dataset.targets(index) for index in range(len(dataset))]
    boxes_xyxy = np.concatenate([boxes for boxes, _ in targets])
    per_label = np.bincount(
        np.concatenate([labels for _, labels in targets]), minlength=len(dataset.class_names)
    )
    area = np.prod(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], axis=1)
    per_image = np.array([len(labels) for _, labels in targets], np.float32)
    small, large = area < SIZE_LIMITS[0], area > SIZE_LIMITS[1]
    problems = [
        *dataset.problems,
        *_repeated_annotations(annotations, dataset.images),
        *_repeated_names(dataset),
        *_misplaced_boxes(dataset),
        *_image_problems(dataset),
    ]
    return Report(
        json_path=dataset.json_path,
        images=len(dataset),
        images_without_boxes=int(np.count_nonzero(per_image == 0)),
        boxes=len(boxes_xyxy),
        crowd_boxes=dataset.crowd_boxes,
        category_ids=tuple(dataset.category_ids),
        class_counts=dict(zip(unique_names(dataset.class_names), per_label.tolist(), strict=True)),
        size_counts={
            "small": int(small.sum()),
            "medium": int((~small & ~large).sum()),
            "large": int(large.sum()),
        },
        side_quantiles=_quantiles(np.sqrt(area)),
        per_image_quantiles=_quantiles(per_image),
        problems=tuple(problems),
    )


def format_report(report: Report) -> str:
    """The report as text to read."""
    first, last = report.category_ids[0], report.category_ids[-1]
    gaps = "" if report.has_contiguous_ids else ", with gaps"
    facts: list[list[object]] = [
        ["annotation file", str(report.json_path)],
        ["images", report.images],
        ["images without boxes", report.images_without_boxes],
        ["boxes", report.boxes],
        ["crowd boxes (not trained on)", report.crowd_boxes],
        ["category ids", f"{len(report.category_ids)} from {first} to {last}{gaps}"],
        *[[f"{name} boxes", count] for name, count in report.size_counts.items()],
    ]
    classes = [
        [category, name, count, "" if count else "no box"]
        for category, (name, count) in zip(
            report.category_ids, report.class_counts.items(), strict=True
        )
    ]
    spread = [
        ["box side, pixels", *report.side_quantiles.values()],
        ["boxes per image", *report.per_image_quantiles.values()],
    ]
    parts = [
        tabulate(facts, tablefmt="plain"),
        tabulate(classes, ["id", "class", "boxes", ""], disable_numparse=[1]),
        tabulate(spread, ["quantile", *report.side_quantiles], floatfmt=".1f"),
        _format_problems(report),
    ]
    return "\n\n".join(parts)


def report_json(report: Report) -> dict[str, Any]:
    """The report as JSON values, with every problem."""
    return {
        **asdict(report),
        "json_path": str(report.json_path),
        "category_base": report.category_ids[0],
        "has_contiguous_ids": report.has_contiguous_ids,
        "unused_classes": report.unused_classes,
        "problem_counts": dict(report.problem_counts),
        "fatal": report.fatal,
    }


def draw_targets(
    dataset: DetectionDataset, out_file: Path, rng: np.random.Generator, count: int = 16
) -> Path:
    """Write a page of up to `count` random images with their boxes and class names.

    Images that cannot be read are passed over. Raises DataError where none can, UsageError where
    `out_file` is neither JPEG nor PNG.
    """
    if out_file.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise UsageError(f"{out_file}: a page is written as .jpg or .png")
    cells = _cells(dataset, rng, count)
    blank = np.full_like(cells[0], 255)
    cells += [blank] * (-len(cells) % COLUMNS)
    rows = [np.hstack(cells[start : start + COLUMNS]) for start in range(0, len(cells), COLUMNS)]
    _, data = cv2.imencode(out_file.suffix.lower(), np.vstack(rows))
    with whole_file(out_file) as work:
        work.write_bytes(data.tobytes())
    return out_file


def _cells(dataset: DetectionDataset, rng: np.random.Generator, count: int) -> list[UInt8]:
    """Pictures [CELL, CELL, 3] of random readable images, each fitted into its cell."""
    cells: list[UInt8] = []
    for index in rng.permutation(len(dataset)):
        if len(cells) == count:
            break
        try:
            sample = dataset.sample(int(index))
        except DataError:
            continue
        height, width = sample.size_hw
        scale = (CELL - 4) / max(height, width)
        size_wh = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(sample.image, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8)
        drawn = draw_boxes(image, sample.boxes_xyxy * scale, sample.labels, dataset.class_names)
        cell = np.full((CELL, CELL, 3), 255, np.uint8)
        cell[: size_wh[1], : size_wh[0]] = drawn
        cells.append(cell)
    if not cells:
        raise DataError(f"{dataset.json_path}: none of the {len(dataset)} images can be read")
    return cells


def _quantiles(values: Float32) -> dict[str, float]:
    if not len(values):
        return {f"{share:.0%}": 0.0 for share in QUANTILES}
    found = np.quantile(values, QUANTILES).tolist()
    return {f"{share:.0%}": value for share, value in zip(QUANTILES, found, strict=True)}


def _repeated_names(dataset: DetectionDataset) -> Iterator[Problem]:
    for name, count in Counter(dataset.class_names).items():
        if count > 1:
            detail = f"{count} categories are named {name!r}"
            yield Problem("duplicate_class_name", None, dataset.json_path.name, detail)


def _misplaced_boxes(dataset: DetectionDataset) -> Iterator[Problem]:
    warning = dataset.overhang.warning()
    if warning is not None:
        yield Problem("misplaced_boxes", None, dataset.json_path.name, warning)


def _repeated_annotations(
    annotations: list[dict[str, Any]], records: list[ImageRecord]
) -> Iterator[Problem]:
    """Annotation ids that stand twice, and boxes that equal one of the same image and class."""
    name_of: dict[object, str] = {record.id: record.path.name for record in records}
    seen_ids: set[object] = set()
    first_of: dict[tuple[object, ...], object] = {}
    for annotation in annotations:
        identifier = _key(annotation.get("id"))
        image_id = plain_id(annotation.get("image_id"))
        file_name = name_of.get(image_id, "")
        if identifier in seen_ids:
            yield Problem("duplicate_id", identifier, file_name, "this id stands twice")
        seen_ids.add(identifier)
        box = finite_box(annotation.get("bbox"))
        if annotation.get("iscrowd") or box is None:
            continue
        key = (image_id, plain_id(annotation.get("category_id")), *box)
        if key in first_of:
            detail = f"same as {first_of[key]}: {list(box)}"
            yield Problem("duplicate_box", identifier, file_name, detail)
        first_of.setdefault(key, identifier)


def _key(value: object) -> object:
    """An annotation's id, as text where it is no number."""
    return value if isinstance(value, int) else shown(value)


def _image_problems(dataset: DetectionDataset) -> Iterator[Problem]:
    missing = set(dataset.missing)
    first_of: dict[bytes, str] = {}
    for record in dataset.images:
        name = record.path.name
        if record.path in missing:
            yield Problem("missing_image", None, name, f"no file {record.path}")
            continue
        try:
            data = read_bytes(record.path)
            size_wh = header_size(record.path)
        except DataError as error:
            yield Problem("unreadable_image", None, name, str(error))
            continue
        if is_cut_off(data):
            yield Problem("cut_off_image", None, name, f"ends after {len(data)} bytes")
        mismatch = size_problem(record, size_wh)
        if mismatch is not None:
            yield mismatch
        digest = hashlib.blake2b(data, digest_size=16).digest()
        if digest in first_of:
            yield Problem("duplicate_image", None, name, f"same bytes as {first_of[digest]}")
        first_of.setdefault(digest, name)


def _format_problems(report: Report) -> str:
    if not report.problems:
        return "no problems"
    rows = []
    for kind, count in report.problem_counts.most_common():
        stops = "stops training" if kind in report.fatal_counts else ""
        found = [problem for problem in report.problems if problem.kind == kind]
        for position, problem in enumerate(found[:EXAMPLES]):
            lead = [kind, count, stops] if position == 0 else ["", "", ""]
            rows.append([*lead, problem.file_name, problem.annotation_id, problem.detail])
    return tabulate(rows, ["problem", "count", "", "file", "annotation", "value"])
