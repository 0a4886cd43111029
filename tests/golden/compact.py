"""Make the committed reference numbers from the full outputs of official YOLOX.

    python -m tests.golden.compact ../shared/golden

The full folder holds what official YOLOX 0.3.0 (commit 6ddff48, torch 2.14.1, CPU, float32) gives
for the weights and inputs of `recipe.py`; its README describes every array. Left out here are
numbers that no test compares, and most class probabilities (see `_evaluation`). Nothing is rounded.
"""

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.golden.reference import ALL_CLASSES_STEP, DATA, Arrays, detections, load_arrays

MODELS = ["nano", "tiny", "s", "m", "l", "x", "yolov3"]
CHECKSUMS = ["input_sum", "weights_float64_sum", "weights_float64_abs_sum"]
TRAIN_NUMBERS = ["losses", "grad_l2", "bn_running_l2_after_1_forward"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.golden.compact", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("full", type=Path, help="folder of the full outputs")
    compact(parser.parse_args().full, DATA)


def compact(full: Path, out: Path) -> None:
    out.mkdir(exist_ok=True)
    for name in ("simota", "schedule"):
        np.savez_compressed(out / f"{name}.npz", **load_arrays(name, full))
    augment = {k: v for k, v in load_arrays("augment", full).items() if not k.startswith("val_")}
    np.savez_compressed(out / "augment.npz", **augment)
    sums = _read(full / "meta.json")
    for name in ("nano", "s"):
        arrays = _evaluation(load_arrays(f"eval_{name}", full))
        arrays |= {key: np.array(sums[f"{name}_eval"][key]) for key in CHECKSUMS}
        np.savez_compressed(out / f"eval_{name}.npz", **arrays)
    _write(out / "keys.json.gz", {name: _read(full / f"keys_{name}.json") for name in MODELS})
    train = _read(full / "train.json")
    _write(
        out / "train.json.gz",
        {case: {key: found[key] for key in TRAIN_NUMBERS} for case, found in train.items()},
    )


def _evaluation(full: Arrays) -> Arrays:
    """Network outputs and detections of one model.

    Kept are the boxes and objectness of all points, the three best class probabilities of each
    point (enough for postprocessing), the sum of its 80, and all 80 of every 17th point. A list of
    detections becomes the list of their points: a detection repeats numbers of its point.
    """
    probs = full["decoded"][..., 5:]
    best = np.argsort(-probs, axis=-1, kind="stable")[..., :3]
    small = {
        "box_obj": full["decoded"][..., :5],
        "best_classes": best.astype(np.uint8),
        "best_probs": np.take_along_axis(probs, best, axis=-1),
        "prob_sums": probs.sum(axis=-1, dtype=np.float64).astype(np.float32),
        "all_probs": probs[:, ::ALL_CLASSES_STEP],
    }
    for key in full:
        if key.startswith("post_"):
            candidates = detections(small, image=int(key[-1]))
            small[key] = _rows_among(full[key], candidates).astype(np.uint16)
    return small


def _rows_among(rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Where in `candidates` each of `rows` stands, equal in every bit."""
    places = {row.tobytes(): place for place, row in enumerate(candidates)}
    return np.array([places[row.tobytes()] for row in rows])


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


def _write(path: Path, content: Any) -> None:
    path.write_bytes(gzip.compress(json.dumps(content).encode(), mtime=0))


if __name__ == "__main__":
    main()
