"""Rectangular batches against squares: seconds and AP on the same images, in turns.

    python benchmarks/rectangles.py --data COCO128 --weights yolox_nano.pth

As `main.py` runs: yolox-nano at 416, batch 8, PyTorch; each batch of rectangles has the smallest
canvas that holds its images. Once with reading and letterbox, once forward and NMS alone; without
weights, random ones.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from table import Row, show

SIZE_HW, BATCH, CONF = (416, 416), 8, 0.001
GOAL = 1 / 1.25
KINDS = ("rectangles", "squares")


def measure(data: str, weights: str, rounds: int) -> tuple[list[float], dict[str, float]]:
    """Time of rectangles as shares of the squares', with and without reading; AP of each kind."""
    from yolox.config import EvalSpec
    from yolox.data.dataset import DetectionDataset
    from yolox.data.folder import ImageFolder
    from yolox.data.image import header_size
    from yolox.engine.launch import pick_device
    from yolox.eval.coco_ap import coco_metrics, ground_truth, to_coco
    from yolox.eval.predict import PredictOptions, predict, rectangular_batches, square_batches
    from yolox.exp import get_exp
    from yolox.export.open import Runtime, open_model

    runtime = Runtime("torch", "fp32", pick_device("cpu"))
    spec = get_exp(exp_name="yolox-nano").detector_spec()
    backend = open_model(weights, runtime, SIZE_HW, spec, any_size=True).backend
    truth = DetectionDataset(data, "instances_val2017.json", "val2017")
    images = ImageFolder([record.path for record in truth.images])
    sizes_hw = [header_size(path)[::-1] for path in images.paths]
    batches = {
        "rectangles": rectangular_batches(sizes_hw, SIZE_HW, backend.info.divisor, BATCH),
        "squares": square_batches(len(images), SIZE_HW, BATCH),
    }
    options = PredictOptions(EvalSpec(CONF, 0.65, multi_class=True), workers=0, progress=False)
    ids = [record.id for record in truth.images]
    seconds, ap = {kind: [] for kind in KINDS}, {}
    for number in range(rounds + 1):
        for kind in KINDS:
            start = time.perf_counter()
            predicted = predict(backend, images, batches[kind], options)
            whole, spent = time.perf_counter() - start, predicted.timing
            if number:  # the first round chooses kernels
                model = spent.warm_up + spent.forward + spent.postprocess
                seconds[kind].append((whole, model))
            else:
                results = to_coco(predicted.found, ids, truth.category_ids)
                ap[kind] = coco_metrics(ground_truth(truth), results).AP
    medians = [
        [statistics.median(column) for column in zip(*seconds[kind], strict=True)] for kind in KINDS
    ]
    return [ours / squares for ours, squares in zip(*medians, strict=True)], ap


def rows(data: str, weights: str | None = None, rounds: int = 3) -> Iterator[Row]:
    """Time of rectangles, as a share of the time of squares."""
    import torch

    from yolox.exp import get_exp

    with tempfile.TemporaryDirectory() as folder:
        if weights is None:
            weights = str(Path(folder, "random.pth"))
            model = get_exp(exp_name="yolox-nano").get_model()
            torch.save({"model": model.state_dict()}, weights)
        (whole, model), ap = measure(data, weights, rounds)
    print("AP:", ", ".join(f"{kind} {ap[kind]:.4f}" for kind in KINDS))
    yield Row("rectangles, nano@416: images to boxes", "of squares", whole, goal=GOAL)
    yield Row("rectangles, nano@416: forward and NMS", "of squares", model, goal=GOAL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a COCO folder")
    parser.add_argument("--weights", help="checkpoint of yolox-nano")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    show(rows(args.data, args.weights, args.rounds))


if __name__ == "__main__":
    main()
