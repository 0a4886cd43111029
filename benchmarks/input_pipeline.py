"""Training samples per second and core, this toolkit against official YOLOX's data sets, in turns.

    pip install --no-deps --target /tmp/official pixeltable-yolox
    python benchmarks/input_pipeline.py --data COCO128 --official /tmp/official

Mosaic, affine, mixup (at 640 only, as YOLOX-nano has none), HSV and flip, from JPEG files and from
images in memory; one process without threads each. "limit" is what cannot be left out: reading and
decoding the images that a sample shows, once, at the size it shows them, and one warp of the
output's size. Official YOLOX is a maintained copy of its code under the same package name.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from table import Row, show
from turns import child_turns, median_turns, parser_of

JSON_FILE, NAME = "instances_train2017.json", "train2017"
CASES = ((640, "disk"), (640, "ram"), (416, "disk"), (416, "ram"))
SEED = 0


def official(data: str, size: int, cached: bool) -> Callable[[], object]:
    """A function that makes the next sample, as official YOLOX does."""
    import random

    import numpy as np

    from yolox.data import CocoDataset, MosaicDetection, TrainTransform

    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002 - what official YOLOX draws from
    images = CocoDataset(data, JSON_FILE, NAME, (size, size), cache=cached, cache_type="ram")
    samples = MosaicDetection(
        images,
        mosaic=True,
        img_size=(size, size),
        preproc=TrainTransform(max_labels=120),
        mosaic_scale=(0.1, 2) if size == 640 else (0.5, 1.5),
        enable_mixup=size == 640,
    )
    numbers = iter(range(10**9))
    return lambda: samples[next(numbers) % len(images)]


def ours(data: str, size: int, cached: bool) -> Callable[[], object]:
    """The same of this toolkit, which keeps freed memory as its worker processes do."""
    from yolox.allocator import keep_freed_memory

    keep_freed_memory()
    return next_of(train_samples(data, size, cached))


def train_samples(data: str, size: int, cached: bool):
    """The samples of this toolkit's training."""
    from yolox.config import AugmentSpec
    from yolox.data.batch import TrainSamples
    from yolox.data.cache import ResizedImages
    from yolox.data.dataset import DetectionDataset

    spec = (
        AugmentSpec() if size == 640 else AugmentSpec(enable_mixup=False, mosaic_scale=(0.5, 1.5))
    )
    source = ResizedImages(
        DetectionDataset(data, JSON_FILE, NAME), (size, size), "ram" if cached else None
    )
    return TrainSamples(source, spec, SEED)


def next_of(samples) -> Callable[[], object]:
    """A function that makes the next of them."""
    from yolox.data.batch import Place

    numbers = iter(range(10**9))

    def work() -> object:
        number = next(numbers)
        return samples[Place(number, number % len(samples), True)]

    return work


def limit(data: str, size: int, cached: bool) -> Callable[[], object]:
    """Decoding what is shown and one warp, nothing else."""
    from dataclasses import replace

    import cv2
    import numpy as np

    samples = train_samples(data, size, cached)
    tile_of, work = samples.source.tile, next_of(samples)
    plan: list[list[Callable[[], object]]] = []

    def watched(index: int):
        tile = tile_of(index)

        def noted(factor: float):
            plan[-1].append(lambda: tile.pixels(factor))
            return tile.pixels(factor)

        return replace(tile, pixels=noted)

    samples.source.tile = watched
    for _ in range(100):
        plan.append([])
        work()
    image = np.zeros((size, size, 3), np.uint8)
    matrix = np.array([[0.9, 0.05, 3.0], [-0.05, 0.9, 3.0]])
    numbers = iter(range(10**9))

    def least() -> object:
        for decode in plan[next(numbers) % len(plan)]:
            decode()
        return cv2.warpAffine(image, matrix, (size, size))

    return least


KINDS = {"official": official, "ours": ours, "limit": limit}
GOAL = 3.0


def rows(data: str, packages: Path | None, rounds: int = 15) -> Iterator[Row]:
    """Samples per second. packages: the folder of official YOLOX."""
    kinds = {"ours": None, "limit": None, **({"official": packages} if packages else {})}
    for size, where in CASES:
        found = median_turns(__file__, kinds, [data, str(size), where], rounds)
        rates = {kind: 1000 / spent for kind, spent in found.items()}
        yield Row(
            f"training samples of {size} pixels, {where}",
            "samples/s",
            rates["ours"],
            rates.get("official"),
            GOAL if packages else None,
            rates["limit"],
            more=True,
        )


def main() -> None:
    parser = parser_of(__doc__, 4)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    if args.child:
        import cv2

        cv2.setNumThreads(0)
        kind, data, size, where = args.child
        child_turns(KINDS[kind](data, int(size), where == "ram"), seconds=1.0)
        return
    show(rows(args.data, args.official, args.rounds))


if __name__ == "__main__":
    main()
