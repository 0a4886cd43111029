"""Read the reference numbers: outputs of official YOLOX 0.3.0, put into `data` by `compact.py`."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parent / "data"
CLASSES = 80
ALL_CLASSES_STEP = 17  # all class probabilities are stored for every 17th point

Arrays = dict[str, np.ndarray]


def load_arrays(name: str, folder: Path = DATA) -> Arrays:
    with np.load(folder / f"{name}.npz") as stored:
        return dict(stored)


def load_json(name: str, folder: Path = DATA) -> Any:
    return json.loads(gzip.decompress((folder / f"{name}.json.gz").read_bytes()))


def network_outputs(stored: Arrays) -> np.ndarray:
    """[N, points, 85] decoded outputs; of the class probabilities the three best, 0 elsewhere."""
    box_obj = stored["box_obj"]
    outputs = np.zeros((*box_obj.shape[:2], 5 + CLASSES), np.float32)
    outputs[..., :5] = box_obj
    np.put_along_axis(outputs[..., 5:], stored["best_classes"], stored["best_probs"], axis=-1)
    return outputs


def detections(stored: Arrays, image: int) -> np.ndarray:
    """[points, 7] x1, y1, x2, y2, objectness, probability, class: every point as a detection."""
    centre, size, obj = np.split(stored["box_obj"][image], [2, 4], axis=1)
    best = stored["best_probs"][image, :, :1], stored["best_classes"][image, :, :1]
    return np.hstack([centre - size / 2, centre + size / 2, obj, *best]).astype(np.float32)
