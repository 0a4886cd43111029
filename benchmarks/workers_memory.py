"""Memory of a training with 4 loader processes, this toolkit against official YOLOX.

    pip install --no-deps --target /tmp/official pixeltable-yolox
    python benchmarks/workers_memory.py --data COCO128 --official /tmp/official

YOLOX-nano at 416, batch 8: the peak over 12 steps of the proportional set size of all processes
(shared pages once, /proc/PID/smaps_rollup), read every 50 ms. Linux only.
"""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from official_step import official_trainer, our_run
from table import Row, show
from turns import parser_of, with_packages

GOAL = 0.8
STEPS, WORKERS, BATCH, SIZE = 12, 4, 8, 416
LINE = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


def official(data: str) -> None:
    """Some steps as official YOLOX's trainer does them."""
    from yolox.data import (
        CocoDataset,
        DataLoader,
        InfiniteSampler,
        MosaicDetection,
        TrainTransform,
        YoloBatchSampler,
        worker_init_reset_seed,
    )

    images = CocoDataset(data, "instances_train2017.json", "train2017", (SIZE, SIZE))
    samples = MosaicDetection(
        images,
        mosaic=True,
        img_size=(SIZE, SIZE),
        preproc=TrainTransform(max_labels=120),
        mosaic_scale=(0.5, 1.5),
        enable_mixup=False,
    )
    sampler = YoloBatchSampler(
        sampler=InfiniteSampler(len(samples), seed=0),
        batch_size=BATCH,
        drop_last=False,
        mosaic=True,
    )
    loader = DataLoader(
        samples, num_workers=WORKERS, batch_sampler=sampler, worker_init_fn=worker_init_reset_seed
    )
    step, batches = official_trainer("nano", BATCH), iter(loader)
    for _ in range(STEPS):
        found, targets, *_ = next(batches)
        step(found, targets)


def ours(data: str) -> None:
    """The same of this toolkit."""
    from contextlib import closing

    from yolox.data.cache import ResizedImages
    from yolox.engine.batches import batches_of
    from yolox.engine.step import train_step

    run = our_run(data, "nano", SIZE, BATCH, workers=WORKERS)
    with closing(
        batches_of(run, ResizedImages(run.dataset, run.sizes.input_size, None))
    ) as batches:
        for _ in range(STEPS):
            train_step(run, batches)


KINDS = {"official": official, "ours": ours}


def family(pid: int) -> list[int]:
    """A process and all that come from it."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*"):
            found += map(int, (task / "children").read_text().split())
    return found


def peak_mb(kind: str, data: str, packages: Path | None) -> float:
    """The peak of a kind in MB."""
    command = [sys.executable, __file__, "--child", kind, "--data", data]
    job = subprocess.Popen(command, env=with_packages(packages), stderr=subprocess.DEVNULL)
    peak = 0
    while job.poll() is None:
        total = 0
        try:
            for pid in family(job.pid):
                said = LINE.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
                total += int(said.group(1)) if said else 0
        except OSError:  # one of them has ended meanwhile
            continue
        peak = max(peak, total)
        time.sleep(0.05)
    if job.returncode:
        raise SystemExit(f"{kind}: exit code {job.returncode}")
    return peak / 1024


def rows(data: str, packages: Path | None) -> Iterator[Row]:
    """Megabytes. packages: the folder of official YOLOX."""
    other = peak_mb("official", data, packages) if packages else None
    goal = GOAL if packages else None
    yield Row(
        "memory, nano@416, batch 8, 4 workers", "MB", peak_mb("ours", data, None), other, goal
    )


def main() -> None:
    parser = parser_of(__doc__, 1)
    args = parser.parse_args()
    if args.child:
        KINDS[args.child[0]](args.data)
        return
    show(rows(args.data, args.official))


if __name__ == "__main__":
    main()
