"""Run a model over images and collect its detections, with the time of each stage.

Images come in batches of one size: squares as in training, or rectangles that follow the images'
aspect ratios. The model is a `Backend`.
"""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from yolox.backends import Backend
from yolox.config import EvalSpec
from yolox.data.augment import fit_ratio, letterbox, resize_by, scaled_size
from yolox.data.batch import start_worker
from yolox.data.loader import DATA_TIMEOUT, watched
from yolox.data.sample import UInt8, channels_first
from yolox.errors import DataError
from yolox.ops.nms import from_graph, postprocess

LEGACY_MEAN = (0.485, 0.456, 0.406)  # ImageNet, as YOLOX before 0.2 normalised its input
LEGACY_STD = (0.229, 0.224, 0.225)


class ImageSource(Protocol):
    """What can be read by number."""

    def __len__(self) -> int: ...

    def read_image(self, index: int) -> UInt8:
        """[H, W, 3] uint8 BGR."""
        ...


class Request(NamedTuple):
    """One image of a batch: its number, the canvas (height, width), and the scale's limit."""

    image: int
    canvas_hw: tuple[int, int]
    fit_hw: tuple[int, int]


class Prepared(NamedTuple):
    """A batch of canvases [B, 3, H, W] uint8, and of each image its number, its size in pixels and
    the ratio by which it was scaled; seconds: what that took.
    """

    images: Tensor
    ratios: list[float]
    sizes_hw: list[tuple[int, int]]
    indices: list[int]
    seconds: float


class Detections(NamedTuple):
    """boxes [n, 4] xyxy in pixels of the original image; scores [n]; labels [n] int64."""

    boxes_xyxy: Tensor
    scores: Tensor
    labels: Tensor


@dataclass
class Timing:
    """Seconds spent per stage, summed over images.

    The first batch of every shape warms the backend up: libraries are loaded, kernels are chosen
    or compiled. Its forward and postprocess count as `warm_up`. timed: images of all other batches.
    """

    preprocess: float = 0.0
    forward: float = 0.0
    postprocess: float = 0.0
    warm_up: float = 0.0
    images: int = 0
    timed: int = 0

    def per_image_ms(self) -> dict[str, float]:
        """Milliseconds per image of each stage, warm-up left out, and of all together."""
        scale = 1000 / max(self.timed, 1)
        stages = {
            "preprocess": self.preprocess * 1000 / max(self.images, 1),
            "forward": self.forward * scale,
            "postprocess": self.postprocess * scale,
        }
        return {**stages, "total": sum(stages.values())}


class Predicted(NamedTuple):
    """Detections and height and width of each image, by its number, and the time that it took."""

    found: dict[int, Detections]
    sizes_hw: dict[int, tuple[int, int]]
    timing: Timing


CanvasItem = tuple[UInt8, float, tuple[int, int], int, float]


@dataclass(frozen=True)
class PredictOptions:
    """How to run. eval_spec is ignored, but for conf, where suppression is part of the model.

    timeout: seconds that a worker may take for a batch.
    """

    eval_spec: EvalSpec
    workers: int = 0
    legacy: bool = False
    progress: bool = True
    timeout: float = DATA_TIMEOUT


class _Canvases(Dataset[Any]):
    """Images placed on their canvases, made in worker processes."""

    def __init__(self, source: ImageSource):
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, request: Request) -> CanvasItem | DataError:  # type: ignore[override]
        start = time.perf_counter()
        try:
            image = self.source.read_image(request.image)
        except DataError as error:
            return error
        canvas, ratio = place(image, request.canvas_hw, request.fit_hw)
        size_hw = image.shape[0], image.shape[1]
        return channels_first(canvas), ratio, size_hw, request.image, time.perf_counter() - start


def place(image: UInt8, canvas_hw: tuple[int, int], fit_hw: tuple[int, int]) -> tuple[UInt8, float]:
    """Scale an image to fit `fit_hw` and put it at the top left of a grey canvas."""
    ratio = fit_ratio((image.shape[0], image.shape[1]), fit_hw)
    height, width = scaled_size((image.shape[0], image.shape[1]), ratio)
    if canvas_hw == fit_hw or height > canvas_hw[0] or width > canvas_hw[1]:
        return letterbox(image, canvas_hw)  # a canvas too small: the header had another size
    return letterbox(resize_by(image, ratio), canvas_hw, scale=False)[0], ratio


def square_batches(
    count: int, size_hw: tuple[int, int], batch_size: int, share: tuple[int, int] = (0, 1)
) -> list[list[Request]]:
    """Batches of one canvas size. share: (rank, world); every image stands in one share only."""
    rank, world = share
    mine = [Request(index, size_hw, size_hw) for index in range(rank, count, world)]
    return [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]


def rectangular_batches(
    sizes_hw: Sequence[tuple[int, int]], fit_hw: tuple[int, int], divisor: int, batch_size: int
) -> list[list[Request]]:
    """Images sorted by aspect ratio; each batch has the smallest canvas that holds its images.

    sizes_hw: (height, width) of every image. Canvases are multiples of `divisor`.
    """
    order = sorted(range(len(sizes_hw)), key=lambda index: sizes_hw[index][0] / sizes_hw[index][1])
    batches = []
    for start in range(0, len(order), batch_size):
        members = order[start : start + batch_size]
        sizes = [sizes_hw[index] for index in members]
        scaled = np.array([scaled_size(size, fit_ratio(size, fit_hw)) for size in sizes])
        height, width = (-(-scaled.max(axis=0) // divisor) * divisor).tolist()
        batches.append([Request(index, (height, width), fit_hw) for index in members])
    return batches


def predict(
    backend: Backend, source: ImageSource, batches: list[list[Request]], options: PredictOptions
) -> Predicted:
    """Detections of all images, in pixels of their files. Raises the DataError of a bad image."""
    made = Predicted({}, {}, Timing())
    warm: set[torch.Size] = set()
    batch: Prepared | None = None
    for batch in tqdm(
        _prepared(source, batches, options),
        total=len(batches),
        desc="evaluating",
        disable=None if options.progress else True,
    ):
        rows = _detect_timed(backend, batch, options, made.timing, batch.images.shape in warm)
        warm.add(batch.images.shape)
        made.timing.preprocess += batch.seconds
        made.timing.images += len(batch.indices)
        for index, ratio, size_hw, found in zip(
            batch.indices, batch.ratios, batch.sizes_hw, rows, strict=True
        ):
            made.found[index] = to_detections(found, ratio)
            made.sizes_hw[index] = size_hw
    if batch is not None and not made.timing.timed:  # no shape came twice
        _detect_timed(backend, batch, options, made.timing, is_warm=True)
    return made


def _detect_timed(
    backend: Backend, batch: Prepared, options: PredictOptions, timing: Timing, is_warm: bool
) -> list[Tensor]:
    """Rows of each image as `detect` gives them; the time is added up."""
    start = time.perf_counter()
    predictions = backend(legacy_input(batch.images) if options.legacy else batch.images)
    between = time.perf_counter()
    rows = detect(predictions, backend, options.eval_spec)
    end = time.perf_counter()
    if is_warm:
        timing.forward += between - start
        timing.postprocess += end - between
        timing.timed += len(batch.indices)
    else:
        timing.warm_up += end - start
    return rows


def legacy_input(images: Tensor) -> Tensor:
    """uint8 canvases as YOLOX before 0.2 wanted them: RGB, normalised."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (LEGACY_MEAN, LEGACY_STD))
    return (images.float().flip(1) / 255 - mean) / std


def detect(predictions: Tensor, backend: Backend, spec: EvalSpec) -> list[Tensor]:
    """A backend's output -> rows [n, 7] of each image as `postprocess` gives them, on the CPU."""
    work = from_graph if backend.info.output == "detections" else postprocess
    return [rows.cpu() for rows in work(predictions, spec)]


def to_detections(rows: Tensor, ratio: float) -> Detections:
    """Postprocessed rows [n, 7] of a canvas -> detections in the original image's pixels."""
    return Detections(rows[:, :4] / ratio, rows[:, 4] * rows[:, 5], rows[:, 6].long())


def _collate(items: list[CanvasItem | DataError]) -> Prepared | DataError:
    for item in items:
        if isinstance(item, DataError):
            return item
    images, ratios, sizes_hw, indices, seconds = zip(*items, strict=True)  # type: ignore[misc]
    stacked = torch.from_numpy(np.stack(images))
    return Prepared(stacked, list(ratios), list(sizes_hw), list(indices), sum(seconds))


def _prepared(
    source: ImageSource, batches: list[list[Request]], options: PredictOptions
) -> Iterator[Prepared]:
    workers = min(options.workers, os.cpu_count() or 1)
    loader: DataLoader[Any] = DataLoader(
        _Canvases(source),
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=start_worker,
        pin_memory=torch.cuda.is_available(),
        timeout=options.timeout if workers else 0,
    )
    for batch in watched(loader, lambda number: f"images {[r.image for r in batches[number]]}"):
        if isinstance(batch, DataError):
            raise batch
        yield batch
