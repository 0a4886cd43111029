"""The pictures of an evaluation as PNG files and as one page that needs no network."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, StrictUndefined
from loguru import logger

from yolox.data.dataset import DetectionDataset
from yolox.data.draw import draw_boxes
from yolox.data.image import write_image
from yolox.data.sample import UInt8
from yolox.errors import DataError
from yolox.eval.evaluate import Evaluation
from yolox.eval.report.curves import ScoreCurves, best_confidence, score_curves
from yolox.eval.report.errors import CONF, LEAST_IOU, Errors, ImageErrors, find_errors
from yolox.eval.report.figures import confusion_figure, curves_figure, save_figures
from yolox.files import write_text

TEMPLATE = Path(__file__).with_name("page.html.j2")
WORST = 12  # images
SMALLEST = 400  # pixels of the longer side
WIDTH = 640  # pixels of one of two pictures side by side


def write_evaluation(
    folder: Path, title: str, dataset: DetectionDataset, found: Evaluation
) -> Path:
    """Write `confusion.png`, `curves.png`, `worst_*.png` and `evaluation.html`; returns the page.

    Raises DataError where nothing has an object, OSError where the folder cannot be written.
    """
    curves = score_curves(found.truth, found.results)
    if not curves:
        raise DataError(f"{dataset.json_path}: no object to draw curves of")
    errors = find_errors(found.truth, found.results)
    drawn = save_figures(
        {"confusion": confusion_figure(errors), "curves": curves_figure(curves)}, folder
    )
    worst = []
    for number, one in enumerate(errors.worst(WORST), 1):
        picture = _side_by_side(dataset, one)
        if picture is not None:
            path = folder / f"worst_{number:02d}.png"
            write_image(path, picture)
            worst.append((path, f"{dataset.paths[one.image].name}: {_in_words(one)}"))
    page = folder / "evaluation.html"
    write_text(page, _page(title, found, curves, errors, drawn, worst))
    logger.info("pictures of the evaluation: {}", page)
    return page


def _in_words(one: ImageErrors) -> str:
    parts = (("missed", one.missed), ("false", one.false), ("of another class", one.confused))
    return ", ".join(f"{len(items)} {name}" for name, items in parts if items)


def _side_by_side(dataset: DetectionDataset, one: ImageErrors) -> UInt8 | None:
    """The objects to the left; what was missed or is false to the right. None without the file."""
    try:
        image = dataset.read_image(one.image)
    except DataError:
        return None
    image = _large_enough(image)
    size_hw = (image.shape[0], image.shape[1])
    record = dataset.images[one.image]
    scale = np.array([size_hw[1] / record.width, size_hw[0] / record.height] * 2, np.float32)
    names = [*dataset.class_names, *(f"missed {name}" for name in dataset.class_names)]
    boxes = [box for box, *_ in (*one.missed, *one.false, *one.confused)]
    labels = [len(dataset.class_names) + label for _, label in one.missed]
    labels += [label for _, label, _ in (*one.false, *one.confused)]
    wrong = draw_boxes(
        image, np.array(boxes, np.float32).reshape(-1, 4) * scale, np.array(labels, np.int64), names
    )
    right = draw_boxes(image, *dataset.targets_in(one.image, size_hw), dataset.class_names)
    both: UInt8 = np.concatenate([right, wrong], axis=1)
    shrink = min(2 * WIDTH / both.shape[1], 1.0)
    small: UInt8 = cv2.resize(both, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return small


def _large_enough(image: UInt8) -> UInt8:
    """An image whose longer side is not too small for names of classes."""
    scale = max(SMALLEST / max(image.shape[:2]), 1.0)
    if scale == 1.0:
        return image
    larger: UInt8 = cv2.resize(image, None, fx=scale, fy=scale)  # type: ignore[assignment]
    return larger


def _page(
    title: str,
    found: Evaluation,
    curves: Mapping[str, ScoreCurves],
    errors: Errors,
    drawn: Sequence[Path],
    worst: Sequence[tuple[Path, str]],
) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    confidence, f1 = best_confidence(curves)
    metrics = found.metrics
    tiles: list[tuple[str, Any]] = [
        ("AP", f"{metrics.AP:.4f}"),
        ("AP50", f"{metrics.AP50:.4f}"),
        ("images", metrics.images),
        (f"best mean F1, at confidence {confidence:.2f}", f"{f1:.3f}"),
    ]
    return template.render(
        title=title,
        tiles=tiles,
        conf=CONF,
        iou=LEAST_IOU,
        confusion=_embedded(drawn[0]),
        curves=_embedded(drawn[1]),
        worst=[(_embedded(path), caption) for path, caption in worst],
        missed=int(errors.matrix[:-1, -1].sum()),
        unfounded=int(errors.matrix[-1, :-1].sum()),
    )


def _embedded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
