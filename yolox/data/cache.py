"""Images resized once, kept in memory or in one memory-mapped file.

The key of a cache covers every image's path, size and modification time and the target size, so
that a changed or exchanged file makes a new cache instead of stale images.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from loguru import logger
from tqdm import tqdm

from yolox import dist
from yolox.data.augment import fit_ratio, resize_by, resize_to_fit, scaled_size
from yolox.data.dataset import DetectionDataset
from yolox.data.image import StoredImage
from yolox.data.sample import Sample, UInt8
from yolox.data.tiles import Tile, whole_tile
from yolox.errors import DataError
from yolox.files import whole_file, write_json

CACHE_KINDS = ("ram", "disk")
CACHE_VERSION = 2


class CachedImage(NamedTuple):
    """An image that was resized, and the height and width of its file."""

    image: UInt8
    size_hw: tuple[int, int]


class ResizedImages:
    """The samples of a data set, scaled to fit the input size; optionally cached.

    A RAM cache is shared with forked worker processes. With several training processes on one
    machine the disk cache is shared between them, through the page cache.
    """

    def __init__(
        self, dataset: DetectionDataset, size_hw: tuple[int, int], cache: str | None = None
    ):
        self.dataset = dataset
        self.size_hw = size_hw
        self._cached: list[CachedImage] | None = None
        if cache is not None:
            if cache not in CACHE_KINDS:
                raise ValueError(f"cache {cache!r} is none of {', '.join(CACHE_KINDS)}")
            self._cached = list(self._all_resized()) if cache == "ram" else self._on_disk()

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int) -> Sample:
        """Image and targets in the resized image's pixels."""
        if self._cached is None:
            return resize_to_fit(self.dataset.sample(index), self.size_hw)
        image, size_hw = self._cached[index]
        boxes_xyxy, labels = self.dataset.targets_in(index, size_hw)
        # The factor is that of the file, not of the rounded size, as without a cache.
        ratio = fit_ratio(size_hw, self.size_hw)
        return Sample(image, boxes_xyxy * np.float32(ratio), labels)

    def tile(self, index: int) -> Tile:
        """The same before its pixels are decoded and scaled."""
        if self._cached is not None:
            return whole_tile(self.sample(index))
        stored = StoredImage(self.dataset.images[index].path)
        ratio = fit_ratio(stored.size_hw, self.size_hw)
        boxes_xyxy, labels = self.dataset.targets_in(index, stored.size_hw)
        size_hw = scaled_size(stored.size_hw, ratio)
        return Tile(size_hw, boxes_xyxy * np.float32(ratio), labels, ratio, stored.pixels)

    def _resized(self, index: int) -> CachedImage:
        image = self.dataset.read_image(index)
        size_hw = image.shape[0], image.shape[1]
        return CachedImage(resize_by(image, fit_ratio(size_hw, self.size_hw)), size_hw)

    def _all_resized(self) -> Iterator[CachedImage]:
        count = len(self.dataset)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            images = pool.map(self._resized, range(count))
            yield from tqdm(images, total=count, desc="caching", disable=None)

    def _on_disk(self) -> list[CachedImage]:
        """Map the cache file; the first process of each machine makes it where it must be made."""
        folder = self.dataset.data_dir / ".cache"
        name = f"{self.dataset.json_path.stem}_{self.size_hw[0]}x{self.size_hw[1]}"
        data, index = folder / f"{name}.bin", folder / f"{name}.json"
        key = cache_key(self.dataset, self.size_hw)
        if dist.local_rank() == 0 and not _is_current(data, index, key):
            _write(data, index, key, self._all_resized())
        dist.barrier()
        logger.info("image cache: {}", data)
        return _map(data, index)


def cache_key(dataset: DetectionDataset, size_hw: tuple[int, int]) -> str:
    """A hash over the files (path, bytes, modification time) and the target size."""
    digest = hashlib.sha256(f"{CACHE_VERSION} {size_hw}".encode())
    for record in dataset.images:
        try:
            status = record.path.stat()
        except OSError as error:
            raise DataError(f"image {record.path}: cannot be read: {error.strerror}") from error
        digest.update(f"{record.path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _is_current(data: Path, index: Path, key: str) -> bool:
    if not (data.is_file() and index.is_file()):
        return False
    try:
        stored = json.loads(index.read_text(encoding="utf-8"))
        if stored["key"] == key and data.stat().st_size == stored["bytes"]:
            return True
    except (OSError, ValueError, LookupError, TypeError):
        pass  # written by something else
    logger.info("image cache {} is out of date: made again", data)
    return False


def _write(data: Path, index: Path, key: str, images: Iterable[CachedImage]) -> None:
    """Stream the images into a file, then put it and its index in place, in this order.

    An index that is older than its data has another key, and so counts as out of date.
    """
    shapes, sizes_hw = [], []
    with whole_file(data) as work, work.open("wb") as file:
        for image, size_hw in images:
            file.write(np.ascontiguousarray(image).tobytes())
            shapes.append(list(image.shape))
            sizes_hw.append(list(size_hw))
    content = {"key": key, "bytes": data.stat().st_size, "shapes": shapes, "sizes_hw": sizes_hw}
    write_json(index, content)


def _map(data: Path, index: Path) -> list[CachedImage]:
    flat = np.memmap(data, np.uint8, mode="r")
    stored = json.loads(index.read_text(encoding="utf-8"))
    images, start = [], 0
    for shape, (height, width) in zip(stored["shapes"], stored["sizes_hw"], strict=True):
        size = int(np.prod(shape))
        images.append(CachedImage(flat[start : start + size].reshape(shape), (height, width)))
        start += size
    return images
