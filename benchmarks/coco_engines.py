"""COCO metrics by engine: seconds, and the largest difference between them.

`python benchmarks/coco_engines.py [--images 1000]`. Boxes and detections are drawn at random.
"""

import argparse
import time

import numpy as np

from yolox.eval.coco_ap import ENGINES, coco_metrics

CLASSES, BOXES, DETECTIONS = 80, 7, 100


def draw(images: int) -> tuple[dict, list[dict]]:
    """A ground truth of COCO's density, and detections around and beside its boxes."""
    rng = np.random.default_rng(0)
    annotations, results = [], []
    for image in range(1, images + 1):
        corners = rng.uniform(0, 400, (BOXES, 2))
        boxes = np.hstack([corners, rng.uniform(8, 200, (BOXES, 2))])
        labels = rng.integers(1, CLASSES + 1, BOXES)
        for box, label in zip(boxes, labels, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(label),
                    "bbox": box.tolist(),
                    "area": float(box[2] * box[3]),
                    "iscrowd": 0,
                }
            )
        chosen = rng.integers(0, BOXES, DETECTIONS)
        moved = np.maximum(boxes[chosen] + rng.normal(0, 12, (DETECTIONS, 4)), 1)
        for box, label, score in zip(moved, labels[chosen], rng.random(DETECTIONS), strict=True):
            results.append(
                {
                    "image_id": image,
                    "category_id": int(label),
                    "bbox": box.tolist(),
                    "score": float(score),
                }
            )
    truth = {
        "images": [{"id": i, "width": 640, "height": 640} for i in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": c, "name": str(c)} for c in range(1, CLASSES + 1)],
    }
    return truth, results


def main() -> None:
    """Time every engine on the same results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    truth, results = draw(parser.parse_args().images)
    found = {}
    for engine in ENGINES:
        start = time.perf_counter()
        found[engine] = coco_metrics(truth, results, engine)
        print(
            f"{engine}: {time.perf_counter() - start:.2f} s, AP {found[engine].AP:.6f}", flush=True
        )
    first, *others = found.values()
    worst = max(abs(first.AP - other.AP) for other in others)
    print(f"largest difference in AP: {worst:.2e}")


if __name__ == "__main__":
    main()
