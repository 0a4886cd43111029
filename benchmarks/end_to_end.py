"""From a file to boxes, this toolkit against official YOLOX, in turns; then decoding and NMS alone.

    pip install --no-deps --target /tmp/official pixeltable-yolox
    python benchmarks/end_to_end.py --data COCO128 --official /tmp/official

Read, letterbox, forward and NMS, batch 1, 2 threads, the same random weights, the thresholds of
each one's `demo`. "ONNX Runtime" runs the file that `yolox export` writes. NMS: at a threshold of
0.001 on made-up outputs of 8,400 points and 80 classes.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

from table import Row, show
from turns import child_turns, median_turns, parser_of

ROOT = Path(__file__).resolve().parents[1]
CASES = (("nano", 416), ("m", 640))
OUTPUTS = {"dense": 0.5, "sparse": 0.01, "clustered": 0.5}  # share of points above the threshold
GOAL, NMS_GOAL = 0.7, 1.0
CONF, NMS_IOU = 0.001, 0.65
POINTS, CLASSES = 8400, 80


def official(data: str, name: str, size: int, weights: str) -> Callable[[], object]:
    """A function that detects in the next image, as official YOLOX's demo does."""
    import cv2
    import torch
    from yolox.data.data_augment import preproc
    from yolox.utils import fuse_model, postprocess

    from yolox import config

    model = getattr(config, f"Yolox{name.title()}")().get_model().eval()
    model.load_state_dict(torch.load(weights)["model"])
    model, files = fuse_model(model), images(data)

    def detect() -> object:
        image, ratio = preproc(cv2.imread(next(files)), (size, size))
        found = postprocess(model(torch.from_numpy(image)[None]), 80, 0.3, 0.3, class_agnostic=True)
        return found[0] if found[0] is None else found[0][:, :4] / ratio

    return detect


def ours(data: str, name: str, size: int, weights: str) -> Callable[[], object]:
    """The same of this toolkit. weights: of a checkpoint, or an exported file."""
    from yolox import load

    exported = weights.endswith(".onnx")
    model = load(weights) if exported else load(weights, name=f"yolox-{name}", device="cpu")
    files = images(data)
    return lambda: model(next(files))


def images(data: str) -> Iterator[str]:
    """The paths of some images, over and over."""
    return cycle(map(str, sorted(Path(data, "val2017").iterdir())[:16]))


def outputs(kind: str):
    """[1, 8400, 85] cx, cy, w, h, objectness, class probabilities."""
    import torch

    torch.manual_seed(0)
    found = torch.rand(1, POINTS, 5 + CLASSES)
    found[..., :2] = torch.rand(1, POINTS, 2) * (64 if kind == "clustered" else 640)
    found[..., 2:4] = 16 + found[..., 2:4] * 64
    found[..., 4] *= torch.rand(1, POINTS) < OUTPUTS[kind]
    return found


def official_nms(kind: str) -> Callable[[], object]:
    """Official YOLOX's postprocess. It overwrites what it is given."""
    from yolox.utils import postprocess

    found = outputs(kind)
    return lambda: postprocess(found.clone(), CLASSES, CONF, NMS_IOU)


def our_nms(kind: str) -> Callable[[], object]:
    """Ours, on a copy, too."""
    from yolox.config import EvalSpec
    from yolox.ops.nms import postprocess

    found, spec = outputs(kind), EvalSpec(CONF, NMS_IOU)
    return lambda: postprocess(found.clone(), spec)


def files_of(name: str, folder: Path) -> list[str]:
    """A checkpoint of random weights that both read, and its exported file."""
    import torch

    from yolox.exp import get_exp

    torch.manual_seed(0)
    path, exported = folder / f"{name}.pth", folder / f"{name}.onnx"
    torch.save({"model": get_exp(exp_name=f"yolox-{name}").get_model().state_dict()}, path)
    words = ["-n", f"yolox-{name}", "-c", str(path), "--output-name", str(exported)]
    export = [sys.executable, str(ROOT / "tools/export_onnx.py"), *words]
    subprocess.run(export, check=True, capture_output=True)
    return [str(path), str(exported)]


def rows(data: str, packages: Path | None, rounds: int = 9) -> Iterator[Row]:
    """Milliseconds per image. packages: the folder of official YOLOX."""
    others = {"official": packages} if packages else {}
    goal = GOAL if packages else None
    for name, size in CASES:
        with tempfile.TemporaryDirectory() as folder:
            words = [data, name, str(size), *files_of(name, Path(folder))]
            kinds = {"ours": None, "runtime": None, **others}
            found = median_turns(__file__, kinds, words, rounds)
        step = f"image to boxes, {name}@{size}"
        yield Row(step, "ms", found["ours"], found.get("official"), goal)
        yield Row(f"{step}, ONNX Runtime", "ms", found["runtime"], found.get("official"), goal)
    for kind in OUTPUTS:
        found = median_turns(__file__, {"ours": None, **others}, ["nms", kind, "", "", ""], rounds)
        goal = NMS_GOAL if packages else None
        yield Row(f"decode and NMS, {kind}", "ms", found["ours"], found.get("official"), goal)


def child(kind: str, words: list[str]) -> None:
    """Time turns of a kind."""
    import torch

    torch.set_num_threads(2)
    data, name, size, weights, exported = words
    if data == "nms":
        work = (official_nms if kind == "official" else our_nms)(name)
    else:
        make = official if kind == "official" else ours
        work = make(data, name, int(size), exported if kind == "runtime" else weights)
    with torch.inference_mode():
        child_turns(work)


def main() -> None:
    parser = parser_of(__doc__, 6)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], args.child[1:])
        return
    show(rows(args.data, args.official, args.rounds))


if __name__ == "__main__":
    main()
