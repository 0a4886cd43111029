"""Pictures with what a model detects in them."""

from collections.abc import Callable

import numpy as np
import torch

from yolox.backends import Backend
from yolox.config import EvalSpec
from yolox.data.augment import letterbox
from yolox.data.coco_classes import class_labels
from yolox.data.draw import draw_boxes
from yolox.data.sample import UInt8
from yolox.eval.predict import detect, legacy_input, to_detections

Annotate = Callable[[UInt8], tuple[UInt8, int]]


def annotator(
    backend: Backend, size_hw: tuple[int, int], spec: EvalSpec, legacy: bool = False
) -> Annotate:
    """A function from an image [H, W, 3] BGR to the image with its boxes, and their number."""
    info = backend.info
    names = class_labels(info.num_classes, info.class_names)

    def annotate(image: UInt8) -> tuple[UInt8, int]:
        canvas, ratio = letterbox(image, size_hw)
        batch = torch.from_numpy(np.ascontiguousarray(canvas.transpose(2, 0, 1)))[None]
        predictions = backend(legacy_input(batch) if legacy else batch)
        found = to_detections(detect(predictions, backend, spec)[0], ratio)
        drawn = draw_boxes(
            image, found.boxes_xyxy.numpy(), found.labels.numpy(), names, found.scores.numpy()
        )
        return drawn, len(found.scores)

    return annotate
