"""How long the metrics take after the last batch: 5,000 images with 100 detections each.

`python benchmarks/accuracy_time.py`. Boxes and detections are drawn at random, 80 classes.
"""

import time
from collections.abc import Iterator

from coco_engines import draw
from table import Row, show

IMAGES = 5000
GOAL, INTERVAL_GOAL = 1.0, 20.0  # seconds


def rows() -> Iterator[Row]:
    """Seconds of the metrics, and of their interval."""
    from yolox.eval.coco_ap import coco_metrics
    from yolox.eval.intervals import ap_interval
    from yolox.eval.matches import match

    truth, results = draw(IMAGES)
    start = time.perf_counter()
    coco_metrics(truth, results)
    seconds = time.perf_counter() - start
    yield Row("COCO metrics of 5,000 images", "s", seconds, goal=GOAL)
    start = time.perf_counter()
    ap_interval(match(truth, results))
    seconds = time.perf_counter() - start
    yield Row("their interval, 200 subsets", "s", seconds, goal=INTERVAL_GOAL)


if __name__ == "__main__":
    show(rows())
