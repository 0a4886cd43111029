"""One training step, this toolkit against official YOLOX, in turns, on the same made-up objects.

    pip install --no-deps --target /tmp/official pixeltable-yolox
    python benchmarks/official_step.py --data COCO128 --official /tmp/official

Forward, loss, backward, optimiser and average, as each trainer does them, without its input
pipeline; 2 threads. Official YOLOX is a maintained copy of its code under the same package name.
Ours is the step of `yolox train` itself; COCO128 (any COCO folder with train2017 and val2017) only
sets it up.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from pathlib import Path

from table import Row, show
from turns import child_turns, median_turns, parser_of

CASES = (("nano", 416, 8, 20, 0.6), ("nano", 416, 8, 60, 0.5), ("s", 320, 4, 20, 0.7))


def objects(size: int, batch: int, count: int):
    """Images [B, 3, H, W] uint8 and targets [B, 120, 5] class, cx, cy, w, h."""
    import torch

    torch.manual_seed(0)
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)
    targets = torch.zeros(batch, 120, 5)
    real = targets[:, :count]
    real[..., 0] = torch.randint(0, 80, real.shape[:2])
    real[..., 1:3] = torch.rand(*real.shape[:2], 2) * size
    real[..., 3:] = 20 + torch.rand(*real.shape[:2], 2) * size / 4
    return images, targets


def official_trainer(name: str, batch: int):
    """A function that makes one step with images and targets, as official YOLOX's trainer does."""
    import torch
    from yolox.utils import ModelEMA

    from yolox import config

    exp = getattr(config, f"Yolox{name.title()}")()
    exp.warmup_epochs = 0
    model = exp.get_model().train()
    optimizer, ema = exp.get_optimizer(batch), ModelEMA(model, 0.9998)

    def step(images, targets) -> None:
        losses = model(images.to(torch.float32), targets.to(torch.float32))
        optimizer.zero_grad()
        losses["total_loss"].backward()
        optimizer.step()
        ema.update(model)

    return step


def official(data: str, name: str, size: int, batch: int, count: int) -> Callable[[], object]:
    """A function that makes one step of official YOLOX on made-up objects."""
    return partial(official_trainer(name, batch), *objects(size, batch, count))


def our_run(data: str, name: str, size: int, batch: int, workers: int = 0):
    """A training run of this toolkit, before its first step. All its images have one size."""
    import tempfile

    from yolox.engine.setup import prepare
    from yolox.engine.state import RunOptions
    from yolox.exp import get_exp

    exp = get_exp(exp_name=f"yolox-{name}")
    exp.data_dir, exp.output_dir, exp.data_num_workers = data, tempfile.mkdtemp(), workers
    exp.input_size, exp.random_size = (size, size), (size // 32, size // 32)
    exp.warmup_epochs = 0
    return prepare(exp, RunOptions(batch_size=batch))


def ours(data: str, name: str, size: int, batch: int, count: int) -> Callable[[], object]:
    """The same of this toolkit; of several processes, each has its share of the batch."""
    from yolox import dist
    from yolox.data.batch import Batch
    from yolox.engine.step import train_step

    run = our_run(data, name, size, batch)
    images, targets = objects(size, batch // dist.world_size(), count)
    batches = repeat(Batch(images, targets, targets[:, 0, 0].long()))

    def step() -> None:
        train_step(run, batches)
        run.unchecked.clear()

    return step


KINDS = {"official": official, "ours": ours}


def rows(data: str, packages: Path | None, rounds: int = 9) -> Iterator[Row]:
    """Milliseconds of a step. packages: the folder of official YOLOX."""
    kinds = {"ours": None, **({"official": packages} if packages else {})}
    for name, size, batch, count, goal in CASES:
        words = [data, name, str(size), str(batch), str(count)]
        found = median_turns(__file__, kinds, words, rounds)
        yield Row(
            f"training step, {name}@{size}, batch {batch}, {count} objects",
            "ms",
            found["ours"],
            found.get("official"),
            goal if packages else None,
        )


def main() -> None:
    parser = parser_of(__doc__, 6)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    if args.child:
        kind, data, name, *numbers = args.child
        child_turns(KINDS[kind](data, name, *map(int, numbers)), seconds=0.0)
        return
    show(rows(args.data, args.official, args.rounds))


if __name__ == "__main__":
    main()
