"""What is left of YOLOX-nano's AP after cutting channels, without a single gradient.

    pip install torch-pruning
    python benchmarks/compression/without_gradients.py --weights yolox_nano.pth --data COCO128 \
        --macs 0.7 0.5 --sizes 320 512 --json rows.json

For each budget: this toolkit's plan, bare, with constants folded, with least squares, and with
batch norms estimated anew; the same with other criteria; and torch-pruning's magnitude pruning
(group L2, the same ratio everywhere) to the same MACs, bare and with batch norms estimated anew.
Then the model of the first budget deployed at other sizes than it was trained for, and 49 % of the
non-head weights masked by each criterion for weights.
AP on the validation images, calibration on the training images.
"""

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tabulate import tabulate
from torch import nn

from yolox.backends import TorchBackend
from yolox.compress.calibration import CalibrationImages
from yolox.compress.groups import find_groups, kept_channels
from yolox.compress.importance.channels import CHANNEL_CRITERIA, Evidence
from yolox.compress.importance.weights import CRITERIA
from yolox.compress.least_squares import Student, fold_constants, least_squares, recalibrate
from yolox.compress.mask import draw_masks
from yolox.compress.planner import Planner
from yolox.compress.steps import MaskStep, PruneStep
from yolox.compress.workspace import load_trainable
from yolox.engine.masks import apply_masks
from yolox.engine.restore import restore_content
from yolox.eval.evaluate import evaluate_alone
from yolox.exp import Exp, get_exp
from yolox.export.open import model_info
from yolox.files import write_json
from yolox.models.channels import cut_channels
from yolox.models.complexity import complexity
from yolox.models.fuse import fuse

IMAGES = 128
SIZE = 416


class Study:
    """A model, its data, and the rows that were measured."""

    def __init__(self, weights: str, data: str):
        self.weights, self.data = weights, data
        self.content, self.dense, _ = load_trainable(weights, self.exp(SIZE).detector_spec())
        self.dense.eval()
        self.macs = complexity(fuse(self.dense), (SIZE, SIZE)).macs
        self.rows: list[dict[str, object]] = []

    def exp(self, size: int) -> Exp:
        exp = get_exp(exp_name="yolox-nano")
        exp.data_dir, exp.test_size, exp.test_conf = self.data, (size, size), 0.001
        exp.data_num_workers = 0
        return exp

    def images(self, size: int) -> CalibrationImages:
        return CalibrationImages(self.exp(size).get_dataset(), (size, size), IMAGES)

    def note(self, budget: str, what: str, model: nn.Module, start: float, size: int = SIZE):
        seconds = time.perf_counter() - start
        exp = self.exp(size)
        info = model_info(restore_content(self.content, "", exp.detector_spec()))
        backend = TorchBackend(fuse(model), info, torch.device("cpu"))
        dataset = exp.get_eval_dataset()
        found = evaluate_alone(backend, dataset, exp.test_size, exp.predict_options())
        cost = complexity(fuse(model), (SIZE, SIZE))
        row = {
            "budget": budget,
            "what": what,
            "size": size,
            "AP": found.metrics.AP,
            "AP50": found.metrics.AP50,
            "macs": cost.macs / self.macs,
            "params": cost.params,
            "seconds": seconds,
        }
        self.rows.append(row)
        print(row, flush=True)


def students(study: Study, step: PruneStep, images: CalibrationImages) -> tuple[Student, object]:
    """The bare cut model for a step, and the dense model's trace."""
    groups = find_groups(study.dense, images.size_hw)
    evidence = Evidence(study.dense, groups, batches=images)
    scores = CHANNEL_CRITERIA[step.criterion](evidence)
    plan = Planner(groups, scores, step).within(step.budgets)
    channels = kept_channels(groups, plan.kept)
    return Student(cut_channels(study.dense, channels), study.dense, channels, {}), groups.trace


def ours(study: Study, macs: float, images: CalibrationImages) -> Student:
    """All parts of the adaptation on the default plan; then other criteria, adapted in full."""
    name, start = f"{macs:g} of MACs", time.perf_counter()
    student, trace = students(study, PruneStep(macs=macs), images)
    study.note(name, "output criterion, bare", student.model, start)
    study.note(name, "output criterion, folded", fold_constants(student, trace), start)
    fitted = least_squares(student, trace, images)
    study.note(name, "output criterion, least squares", fitted, start)
    study.note(name, "least squares, then batch norms", recalibrate(fitted, images), start)
    study.note(name, "batch norms alone", recalibrate(student.model, images), start)
    controls = [("l2", "per_cost"), ("l2", "layer"), ("bn_scale", "layer"), ("random", "layer")]
    for criterion, ranking in controls:
        start = time.perf_counter()
        step = PruneStep(macs=macs, criterion=criterion, ranking=ranking)
        other, trace = students(study, step, images)
        fitted = least_squares(other, trace, images)
        study.note(name, f"{criterion}, {ranking}, least squares", fitted, start)
    return student


def peer(study: Study, macs: float, images: CalibrationImages) -> None:
    """torch-pruning, its ratio searched for until the budget is met."""
    from peer import WAYS, Peer

    name, start = f"{macs:g} of MACs", time.perf_counter()
    found = Peer(study.dense, (SIZE, SIZE), {}, round_to=4)
    channels, _ = found.channels(WAYS["l2_uniform"], macs)
    best = cut_channels(study.dense, channels)
    study.note(name, "torch-pruning, group L2, bare", best, start)
    study.note(name, "torch-pruning, then batch norms", recalibrate(best, images), start)


def other_sizes(study: Study, student: Student, sizes: list[int]) -> None:
    """Trained and cut at one size, run at another."""
    at_home = find_groups(study.dense, (SIZE, SIZE)).trace
    home = least_squares(student, at_home, study.images(SIZE))
    for size in sizes:
        images, start = study.images(size), time.perf_counter()
        name = f"deployed at {size}"
        trace = find_groups(study.dense, (size, size)).trace
        fitted = least_squares(student, trace, images)
        models: dict[str, Callable[[], nn.Module]] = {
            "dense": lambda: study.dense,
            "dense, batch norms": lambda images=images: recalibrate(study.dense, images),
            f"least squares at {SIZE}": lambda: home,
            f"least squares at {SIZE}, batch norms": lambda images=images: recalibrate(
                home, images
            ),
            "least squares at this size": lambda fitted=fitted: fitted,
            "least squares and batch norms at this size": lambda fitted=fitted, images=images: (
                recalibrate(fitted, images)
            ),
        }
        for what, make in models.items():
            study.note(name, what, make(), start, size)


def masked(study: Study, images: CalibrationImages) -> None:
    """Weights masked, the shapes as they were."""
    distance = study.exp(SIZE).get_criterion().distance
    for criterion in CRITERIA:
        step, start = MaskStep(criterion=criterion), time.perf_counter()
        model, name = copy.deepcopy(study.dense), f"{step.share:.0%} masked"
        apply_masks(model, draw_masks(model, step, images if step.needs_images else None, distance))
        study.note(name, f"{criterion}, bare", model, start)
        study.note(name, f"{criterion}, batch norms", recalibrate(model, images), start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--macs", type=float, nargs="+", default=[0.7, 0.5])
    parser.add_argument("--sizes", type=int, nargs="*", default=[320, 512])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    study = Study(args.weights, args.data)
    study.note("dense", "", study.dense, time.perf_counter())
    images = study.images(SIZE)
    masked(study, images)
    cut = [ours(study, macs, images) for macs in args.macs]
    for macs in args.macs:
        peer(study, macs, images)
    other_sizes(study, cut[0], args.sizes)
    print(tabulate(study.rows, headers="keys", floatfmt=".4f", tablefmt="github"))
    if args.json:
        write_json(args.json, study.rows, indent=2)


if __name__ == "__main__":
    main()
