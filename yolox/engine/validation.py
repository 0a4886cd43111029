"""Evaluation during training: which epoch is the best, and what the best one reaches elsewhere."""

import math
from dataclasses import replace

from loguru import logger

from yolox import dist
from yolox.backends import ModelInfo, TorchBackend
from yolox.data.dataset import DetectionDataset
from yolox.engine import checkpoint
from yolox.engine.curves import Curves
from yolox.engine.restore import load_state
from yolox.engine.saving import best_path
from yolox.engine.state import Run
from yolox.eval.evaluate import Evaluation, evaluate
from yolox.eval.tables import class_table, latency_line, metrics_table
from yolox.families import Detector
from yolox.models.copies import copied
from yolox.models.fake_int8 import as_used

SAME_IMAGES = "chosen on the same images: somewhat too high"


def average_statistics(run: Run) -> None:
    """Batch-norm statistics become their mean over processes, so that none is preferred."""
    dist.average_buffers(run.model)
    if run.ema is not None:
        dist.average_buffers(run.ema.model)


def evaluate_epoch(run: Run, curves: Curves) -> bool:
    """Evaluate the averaged model on all processes; whether it is the best so far.

    Without a box to evaluate on, AP is NaN and the last evaluated model counts as the best.
    """
    found = _evaluate(run, run.eval_model, run.choice_dataset)
    run.curr_ap = dist.from_first(found.metrics.AP if found else 0.0)
    improved = math.isnan(run.curr_ap) or run.curr_ap > run.best_ap
    if not math.isnan(run.curr_ap):
        run.best_ap = max(run.best_ap, run.curr_ap)
    run.evaluations_without_gain = 0 if improved else run.evaluations_without_gain + 1
    if found is not None:
        logger.info("epoch {}: evaluation\n{}", run.epoch, metrics_table(found.metrics))
        logger.info("per class\n{}", class_table(found.metrics))
        logger.info(latency_line(found.latency_ms, _batch_size(run), str(run.options.device)))
        if not math.isnan(run.curr_ap):
            curves.add({"val/AP": run.curr_ap, "val/AP50": found.metrics.AP50}, run.step)
            logger.info("best AP so far {:.4f} ({})", run.best_ap, choice_words(run))
    return improved


def choice_words(run: Run) -> str:
    """Whether the images that an AP is reported on have chosen the epoch too."""
    if run.select_dataset is None:
        return SAME_IMAGES
    return f"on {len(run.select_dataset)} images set aside to choose the epoch"


def report_best(run: Run) -> float | None:
    """AP of the best checkpoint on the validation images, and pictures of it (`eval_report`).

    None where those images chose it, as none were set aside for that.
    """
    apart, pictured = run.select_dataset is not None, run.spec.eval_report and run.best_ap >= 0
    if not (apart or pictured):
        return None
    path = best_path(run.folder)
    weights = dist.from_first(checkpoint.read(path)["model"] if dist.rank() == 0 else None)
    assert weights is not None
    model = copied(run.eval_model)
    load_state(model, weights, f"checkpoint {path}")
    found = _evaluate(run, model, run.eval_dataset)
    if found is not None and pictured:
        _write_pictures(run, found)
    if found is not None and apart:
        logger.info(
            "{} on {}, which did not choose it\n{}",
            path.name,
            run.eval_dataset.json_path,
            metrics_table(found.metrics),
        )
    ap: float = dist.from_first(found.metrics.AP if found else 0.0)
    return ap if apart else None


def _write_pictures(run: Run, found: Evaluation) -> None:
    """Pictures of the best model; what goes wrong with them does not end a finished training."""
    try:
        from yolox.eval.report.page import write_evaluation  # noqa: PLC0415 - matplotlib is slow

        write_evaluation(run.folder / "evaluation", run.exp.exp_name, run.eval_dataset, found)
    except Exception as error:  # noqa: BLE001 - the training is done
        logger.warning("no pictures of the evaluation: {!r}", error)


def _evaluate(run: Run, model: Detector, dataset: DetectionDataset) -> Evaluation | None:
    options = replace(run.exp.predict_options(), progress=dist.rank() == 0)
    detector = run.exp.detector_spec()
    info = ModelInfo(detector.num_classes, detector.divisor)
    backend = TorchBackend(as_used(model, run.rounding is not None), info, run.options.device)
    return evaluate(backend, dataset, run.sizes.test_size, _batch_size(run), options)


def _batch_size(run: Run) -> int:
    return max(run.options.batch_size // dist.world_size(), 1)
