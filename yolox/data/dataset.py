"""Data sets of detection, validated once when they are read, whatever their format.

What annotations may get wrong is counted by kind with the annotation's id (`problems`).
Boxes that cannot be trained on are left out; an unknown class or image id is an error, because
it silently removes a whole class otherwise.
"""

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from yolox.data.annotations import Annotation, Entries, ImageRecord, categories, image_entries
from yolox.data.image import header_size, read_image
from yolox.data.paths import ImageFiles, file_in, image_root
from yolox.data.problems import FATAL, SLACK, Overhang, Problem
from yolox.data.sample import Float32, Float64, Int64, Sample, UInt8
from yolox.data.sources import Source, find_source
from yolox.errors import DataError

CLIPPED = ("zero_size", "outside_image", "partly_outside")  # of problems, the first that holds
PROBED_SIZES = 200  # image headers that the start of a training looks at


class DetectionDataset:
    """Images and boxes of one annotation file, or of one split in another format's folder.

    Targets are kept as two flat arrays, so that worker processes share them instead of copying
    Python objects. Crowd boxes are left out of the targets (they stay in the file, where the
    evaluator reads them). Class indices are positions among the sorted category ids.

    json_file: a COCO file in `data_dir` or its folder `annotations`; a split of a folder in Pascal
        VOC's or YOLO's layout (see `yolox.data.sources`).
    allow_outside: read images that lie outside `data_dir` and the folder of the images, too.
    Raises DataError where the folder, the file, an image or a class id is missing.
    """

    def __init__(
        self,
        data_dir: str | Path,
        json_file: str,
        name: str,
        strict: bool = True,
        allow_outside: bool = False,
    ):
        self.data_dir = Path(data_dir)
        if not self.data_dir.is_dir():
            raise DataError(f"data folder {self.data_dir} does not exist (set data_dir)")
        self._source: Source = find_source(self.data_dir, json_file)
        self.json_path = self._source.path
        content, left_out = self._source.read()
        self.category_ids, self.class_names = categories(content, self.json_path)
        self.images, self.missing = self._found_images(content, name, allow_outside)
        if self.missing and strict:
            raise DataError(
                f"{self.json_path}: {len(self.missing)} of {len(self.images)} images missing, "
                f"first: {self.missing[0]}"
            )
        entries = Entries(self.json_path, self.images, self.category_ids)
        self.problems: list[Problem] = entries.problems
        self.problems += left_out
        self.crowd_boxes = 0
        self._read_annotations(entries, content)
        if strict:
            self._stop_on_fatal_problems()

    def __len__(self) -> int:
        return len(self.images)

    def labels_hash(self) -> str:
        """SHA-256 of the annotations. Raises DataError where they are gone."""
        return self._source.hash()

    @property
    def paths(self) -> list[Path]:
        """The images' files, by number."""
        return [record.path for record in self.images]

    def read_image(self, index: int) -> UInt8:
        """The image as stored: [H, W, 3] uint8 BGR."""
        return read_image(self.images[index].path)

    def targets(self, index: int) -> tuple[Float32, Int64]:
        """Boxes [N, 4] (xyxy, pixels of the JSON's size) and class indices [N]."""
        where = slice(self._starts[index], self._starts[index + 1])
        return self._boxes_xyxy[where].copy(), self._labels[where].copy()

    def targets_in(self, index: int, size_hw: tuple[int, int]) -> tuple[Float32, Int64]:
        """The same, with boxes in pixels of the image file, which has the size `size_hw`."""
        boxes_xyxy, labels = self.targets(index)
        record, (height, width) = self.images[index], size_hw
        if (width, height) != (record.width, record.height):
            boxes_xyxy *= np.array([width / record.width, height / record.height] * 2, np.float32)
        return boxes_xyxy, labels

    def sample(self, index: int) -> Sample:
        """The image and its targets, in the image's own pixels.

        Where the file's size is not the size that the JSON states, boxes are scaled to the file.
        """
        image = self.read_image(index)
        return Sample(image, *self.targets_in(index, (image.shape[0], image.shape[1])))

    def annotations(self) -> Iterator[Annotation]:
        """The usable annotations, crowds included, read anew from the file."""
        entries = Entries(self.json_path, self.images, self.category_ids)
        return entries.annotations(self._source.read()[0])

    def stated_annotations(self) -> list[Any]:
        """All entries as they are stated, unchecked."""
        stated: list[Any] = self._source.content().get("annotations", [])
        return stated

    def subset(self, indices: Sequence[int]) -> "DetectionDataset":
        """The data set of some of the images, in the order given."""
        part = copy.copy(self)
        part.images = [self.images[index] for index in indices]
        names = {record.path.name for record in part.images}
        part.problems = [problem for problem in self.problems if problem.file_name in names]
        rows = [np.arange(self._starts[index], self._starts[index + 1]) for index in indices]
        part._starts = np.cumsum([0, *map(len, rows)]).astype(np.int64)
        order = np.concatenate([np.zeros(0, np.int64), *rows])
        part._boxes_xyxy, part._labels = self._boxes_xyxy[order], self._labels[order]
        return part

    def problem_counts(self) -> Counter[str]:
        """Number of problems of each kind."""
        return Counter(problem.kind for problem in self.problems)

    def _found_images(
        self, content: dict[str, Any], name: str, allow_outside: bool
    ) -> tuple[list[ImageRecord], list[Path]]:
        """The images, and the files among them that are missing. Raises DataError."""
        entries = image_entries(content, self.json_path)
        root = image_root(self.data_dir, name, [entry.file_name for entry in entries])
        records = [
            ImageRecord(entry.id, file_in(root, entry.file_name), entry.width, entry.height)
            for entry in entries
        ]
        roots = None if allow_outside else [self.data_dir, root]
        files = ImageFiles((record.file for record in records), roots)
        if files.outside:
            raise DataError(
                f"{self.json_path}: {len(files.outside)} of {len(records)} images lie outside "
                f"{self.data_dir} (allow_outside reads them), first: {files.outside[0]}"
            )
        return records, files.missing

    def _read_annotations(self, entries: Entries, content: dict[str, Any]) -> None:
        rows = entries.rows(content)
        self.crowd_boxes = int(rows.crowd.sum())
        trained = np.flatnonzero(~rows.crowd)
        image, boxes_xywh = rows.image[trained], rows.boxes_xywh[trained]
        every_size = np.array([(record.width, record.height) for record in self.images], np.float64)
        sizes_wh = every_size[image]
        self.overhang = Overhang.of(boxes_xywh, sizes_wh)
        boxes_xyxy, kinds = clipped(boxes_xywh, sizes_wh)
        for row in np.flatnonzero(kinds >= 0):
            name, detail = self.images[image[row]].path.name, f"bbox {boxes_xywh[row].tolist()}"
            entries.problem(CLIPPED[kinds[row]], rows.ids[trained[row]], name, detail)
        kept = np.flatnonzero((kinds < 0) | (kinds == CLIPPED.index("partly_outside")))
        kept = kept[np.argsort(image[kept], kind="stable")]
        counts = np.bincount(image[kept], minlength=len(self.images))
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._labels = rows.label[trained][kept]
        self._boxes_xyxy = boxes_xyxy[kept].astype(np.float32)

    def _stop_on_fatal_problems(self) -> None:
        fatal = [problem for problem in self.problems if problem.kind in FATAL]
        if fatal:
            more = f" (and {len(fatal) - 1} more)" if len(fatal) > 1 else ""
            raise DataError(f"{self.json_path}: {fatal[0]}{more}")


def clipped(boxes_xywh: Float64, sizes_wh: Float64) -> tuple[Float64, Int64]:
    """Boxes [N, 4] as xyxy inside their images, and what is wrong with each.

    sizes_wh: [N, 2]. What is wrong [N]: a place in `CLIPPED`, or -1.
    """
    low, sides = boxes_xywh[:, :2], boxes_xywh[:, 2:]
    high = low + sides
    inside_low, inside_high = np.maximum(low, 0.0), np.minimum(high, sizes_wh)
    beyond = np.maximum(inside_low - low, high - inside_high).max(axis=1, initial=0.0)
    wrong = [
        (sides <= 0).any(axis=1),
        (inside_high.astype(np.float32) <= inside_low.astype(np.float32)).any(axis=1),
        beyond > SLACK,
    ]
    kinds: Int64 = np.select(wrong, range(len(CLIPPED)), -1).astype(np.int64)
    return np.concatenate([inside_low, inside_high], axis=1), kinds


def size_problem(record: ImageRecord, size_wh: tuple[int, int]) -> Problem | None:
    """What is wrong where a file's width and height are not those that the JSON states."""
    width, height = size_wh
    if (width, height) == (record.width, record.height):
        return None
    stated = f"{record.width} x {record.height} in the JSON, {width} x {height} in the file"
    swapped = " (swapped)" if (height, width) == (record.width, record.height) else ""
    return Problem("size_mismatch", None, record.path.name, stated + swapped)


def size_warning(dataset: DetectionDataset, most: int = PROBED_SIZES) -> str | None:
    """A line about files whose size is not the one that the JSON states, None where there is none.

    The headers of at most so many images are looked at, evenly spread. A file whose header cannot
    be read is passed over: reading the image will name it.
    """
    step = max(len(dataset) // most, 1)
    looked_at = dataset.images[::step][:most]
    problems = []
    for record in looked_at:
        with suppress(DataError):
            problem = size_problem(record, header_size(record.path))
            problems += [problem] if problem else []
    if not problems:
        return None
    share = f"{len(problems)} of {len(looked_at)} images looked at"
    return f"{dataset.json_path}: {share}: {problems[0]}; boxes are scaled"
