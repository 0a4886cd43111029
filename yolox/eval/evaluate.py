"""Evaluate a backend on a data set, alone or together with other processes."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from yolox import dist
from yolox.backends import Backend
from yolox.data.class_order import require_same_order
from yolox.data.dataset import DetectionDataset, size_problem
from yolox.data.problems import summary, warn_once
from yolox.eval.coco_ap import CocoMetrics, coco_metrics, ground_truth, to_coco
from yolox.eval.predict import (
    Detections,
    Predicted,
    PredictOptions,
    Timing,
    predict,
    square_batches,
)
from yolox.models.complexity import Complexity

BATCH = 16  # images, where nobody asks for another number


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found: metrics, milliseconds per image and stage, COCO results.

    truth: what the results were compared with (`ground_truth`).
    """

    metrics: CocoMetrics
    latency_ms: dict[str, float]
    results: list[dict[str, Any]]
    truth: dict[str, Any]


def evaluate(
    backend: Backend,
    dataset: DetectionDataset,
    size_hw: tuple[int, int],
    batch_size: int,
    options: PredictOptions,
) -> Evaluation | None:
    """Evaluate on this process's share of the images. The result is there on rank 0 only.

    Every image is predicted by one process; nothing is padded or counted twice. Raises DataError,
    also where the model has the data set's classes in another order.
    """
    require_same_order(backend.info.class_names, dataset, "the model")
    share = (dist.rank(), dist.world_size())
    batches = square_batches(len(dataset), size_hw, batch_size, share)
    parts = dist.gather_objects(predict(backend, dataset, batches, options))
    if dist.rank() != 0:
        return None
    found: dict[int, Detections] = {}
    for part in parts:
        found.update(in_stated_pixels(part, dataset))
    results = to_coco(found, [record.id for record in dataset.images], dataset.category_ids)
    truth = ground_truth(dataset)
    metrics = coco_metrics(truth, results)
    timing = merged_timing([part.timing for part in parts])
    return Evaluation(metrics, timing.per_image_ms(), results, truth)


def in_stated_pixels(predicted: Predicted, dataset: DetectionDataset) -> dict[int, Detections]:
    """Detections in pixels of the size that the annotation file states for each image.

    Where files have another size, that is said once.
    """
    found, problems = {}, []
    for index, detections in predicted.found.items():
        record, (height, width) = dataset.images[index], predicted.sizes_hw[index]
        problem = size_problem(record, (width, height))
        if problem is not None:
            problems.append(problem)
            scale = [record.width / width, record.height / height]
            boxes = detections.boxes_xyxy * detections.boxes_xyxy.new_tensor(scale * 2)
            detections = detections._replace(boxes_xyxy=boxes)
        found[index] = detections
    for line in summary(problems):
        warn_once(f"{dataset.json_path}: {line}; boxes are scaled")
    return found


def evaluate_alone(
    backend: Backend, dataset: DetectionDataset, size_hw: tuple[int, int], options: PredictOptions
) -> Evaluation:
    """Evaluate on all images in a process that belongs to no group."""
    found = evaluate(backend, dataset, size_hw, backend.info.batch or BATCH, options)
    assert found is not None  # rank 0
    return found


def merged_timing(timings: list[Timing]) -> Timing:
    """Sums over processes: the time per image stays that of one process."""
    total = Timing()
    for field in fields(Timing):
        setattr(total, field.name, sum(getattr(timing, field.name) for timing in timings))
    return total


def evaluation_json(
    evaluation: Evaluation, size: Complexity, size_hw: tuple[int, int], backend: str
) -> dict[str, Any]:
    """The machine-readable result, with stable keys; undefined values are null."""
    content = {
        **asdict(evaluation.metrics),
        "params": size.params,
        "nonzero_params": size.nonzero,
        "gflops": size.gflops,
        "input_size": list(size_hw),
        "backend": backend,
        "latency_ms": evaluation.latency_ms,
    }
    cleaned: dict[str, Any] = without_nan(content)
    return cleaned


def without_nan(value: Any) -> Any:
    """The same value with NaN replaced by None, as JSON wants it."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and value != value else value
