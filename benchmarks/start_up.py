"""Before the first step: --help, the first step of a training, a large annotation file.

    pip install --no-deps --target /tmp/official pixeltable-yolox
    python benchmarks/start_up.py --data COCO128 --official /tmp/official

The annotation file is made up: as many images as COCO's train2017 and boxes with polygons, 460 MB.
"""

import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from table import Row, show
from turns import parser_of, with_packages

ROOT = Path(__file__).resolve().parents[1]
IMAGES = 118_287
NAME = "instances_train2017.json"
HELP_GOAL, COMMAND_GOAL, STEP_GOAL, FILE_GOAL = 0.4, 1.0, 6.0, 1 / 3


def seconds_of(*words: str) -> float:
    """The shortest of five runs of a command."""
    found = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        found.append(time.perf_counter() - start)
    return min(found)


def first_step(data: str) -> float:
    """Seconds from the command to the first reported step of YOLOX-nano."""
    with tempfile.TemporaryDirectory() as folder:
        options = f"data_dir {data} output_dir {folder} max_epoch 1 print_interval 1"
        command = [sys.executable, str(ROOT / "tools/train.py"), "-n", "yolox-nano", "-b", "8"]
        began = datetime.now()
        job = subprocess.Popen(
            [*command, "--device", "cpu", "-l", "none", *options.split()],
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in job.stderr:
            said = re.match(r"(\S+ \S+) \| INFO +\| epoch 1/1, step 1/", line)
            if said:
                break
        ended = datetime.now()
        job.kill()
        job.wait()
    return (ended - began).total_seconds()


def write_dataset(folder: Path) -> None:
    """An annotation file like COCO's, drawn at random; its images are empty files."""
    rng = random.Random(0)
    images, boxes = [], []
    (folder / "annotations").mkdir()
    (folder / "train2017").mkdir()
    for number in range(IMAGES):
        (folder / "train2017" / f"{number:012d}.jpg").touch()
        height = rng.choice([480, 427, 640])
        images.append(
            {
                "license": 3,
                "file_name": f"{number:012d}.jpg",
                "coco_url": f"http://images.example.org/train2017/{number:012d}.jpg",
                "height": height,
                "width": 640,
                "date_captured": "2013-11-14 11:18:45",
                "id": number,
            }
        )
        for _ in range(rng.choice([1, 3, 5, 7, 9, 12, 14])):
            x, y, w, h = rng.random() * 500, rng.random() * 300, rng.random() * 120 + 5, 40.0
            polygon = [round(rng.random() * 600, 2) for _ in range(rng.randrange(12, 80))]
            boxes.append(
                {
                    "segmentation": [polygon],
                    "area": round(w * h * 0.6, 4),
                    "iscrowd": 0,
                    "image_id": number,
                    "bbox": [round(x, 2), round(y, 2), round(w, 2), h],
                    "category_id": rng.randrange(1, 81),
                    "id": len(boxes) + 1,
                }
            )
    kinds = [{"supercategory": "x", "id": i, "name": f"c{i}"} for i in range(1, 81)]
    content = {"info": {}, "images": images, "annotations": boxes, "categories": kinds}
    (folder / "annotations" / NAME).write_text(json.dumps(content))


def read_annotations(kind: str, folder: str) -> None:
    """Print the seconds and the peak memory in GB of one reader."""
    if kind == "official":
        from yolox.data import CocoDataset

        start = time.perf_counter()
        CocoDataset(folder, NAME, "train2017", (640, 640))
    else:
        from yolox.data.dataset import DetectionDataset

        start = time.perf_counter()
        DetectionDataset(folder, NAME, "train2017")
    status = Path("/proc/self/status").read_text()  # ru_maxrss has the parent's memory in it
    peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 2**20
    print("\n" + json.dumps([time.perf_counter() - start, peak]))


def rows(data: str, packages: Path | None) -> Iterator[Row]:
    """Seconds, and memory. packages: the folder of official YOLOX."""
    yield Row("yolox --help", "s", seconds_of("-m", "yolox.cli", "--help"), goal=HELP_GOAL)
    command = str(ROOT / "compress/prune.py")
    yield Row("compress/prune.py --help", "s", seconds_of(command, "--help"), goal=COMMAND_GOAL)
    yield Row("first training step of nano", "s", first_step(data), goal=STEP_GOAL)
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder))
        found = {}
        for kind, place in {"ours": None, "official": packages}.items():
            if kind == "official" and packages is None:
                continue
            words = [sys.executable, __file__, "--child", kind, folder]
            done = subprocess.run(
                words, env=with_packages(place), check=True, stdout=subprocess.PIPE, text=True
            )
            found[kind] = json.loads(done.stdout.splitlines()[-1])
    other = found.get("official", (None, None))
    goal = FILE_GOAL if packages else None
    yield Row("annotation file of 118,287 images", "s", found["ours"][0], other[0], goal)
    yield Row("its peak memory", "GB", found["ours"][1], other[1])


def main() -> None:
    parser = parser_of(__doc__, 2)
    args = parser.parse_args()
    if args.child:
        read_annotations(*args.child)
        return
    show(rows(args.data, args.official))


if __name__ == "__main__":
    main()
