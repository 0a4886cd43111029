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
from yolox.data.sample import UInt8
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
    """A batch of canvases [B, 3, H, W] uint8, with ratios [B], numbers [B] and seconds it took."""

    images: Tensor
    ratios: list[float]
    indices: list[int]
    seconds: float


class Detections(NamedTuple):
    """boxes [n, 4] xyxy in pixels of the original image; scores [n]; labels [n] int64."""

    boxes_xyxy: Tensor
    scores: Tensor
    labels: Tensor


@dataclass
class Timing:
    """Seconds spent per stage, summed over images."""

    preprocess: float = 0.0
    forward: float = 0.0
    postprocess: float = 0.0
    images: int = 0

    def per_image_ms(self) -> dict[str, float]:
        """Milliseconds per image of each stage and of all together."""
        scale = 1000 / max(self.images, 1)
        stages = {
            "preprocess": self.preprocess * scale,
            "forward": self.forward * scale,
            "postprocess": self.postprocess * scale,
        }
        return {**stages, "total": sum(stages.values())}


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

    def __getitem__(self, request: Request) -> tuple[UInt8, float, int, float] | DataError:  # type: ignore[override]
        start = time.perf_counter()
        try:
            image = self.source.read_image(request.image)
        except DataError as error:
            return error
        canvas, ratio = place(image, request.canvas_hw, request.fit_hw)
        chw = np.ascontiguousarray(canvas.transpose(2, 0, 1))
        return chw, ratio, request.image, time.perf_counter() - start


def place(image: UInt8, canvas_hw: tuple[int, int], fit_hw: tuple[int, int]) -> tuple[UInt8, float]:
    """Scale an image to fit `fit_hw` and put it at the top left of a grey canvas."""
    if canvas_hw == fit_hw:
        return letterbox(image, canvas_hw)
    ratio = fit_ratio((image.shape[0], image.shape[1]), fit_hw)
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
) -> tuple[dict[int, Detections], Timing]:
    """Detections by image number, and the time spent. Raises the DataError of a bad image."""
    found: dict[int, Detections] = {}
    timing = Timing()
    for batch in tqdm(
        _prepared(source, batches, options), total=len(batches), desc="evaluating",
        disable=None if options.progress else True,
    ):  # fmt: skip
        start = time.perf_counter()
        predictions = backend(legacy_input(batch.images) if options.legacy else batch.images)
        between = time.perf_counter()
        rows = detect(predictions, backend, options.eval_spec)
        timing.preprocess += batch.seconds
        timing.forward += between - start
        timing.postprocess += time.perf_counter() - between
        timing.images += len(batch.indices)
        for index, ratio, detections in zip(batch.indices, batch.ratios, rows, strict=True):
            found[index] = to_detections(detections, ratio)
    return found, timing


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


def _collate(items: list[tuple[UInt8, float, int, float] | DataError]) -> Prepared | DataError:
    for item in items:
        if isinstance(item, DataError):
            return item
    images, ratios, indices, seconds = zip(*items, strict=True)  # type: ignore[misc]
    return Prepared(torch.from_numpy(np.stack(images)), list(ratios), list(indices), sum(seconds))


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
