"""The training loop. It reads from top to bottom: set up, steps, end of epoch, interruption."""

import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import cv2
from loguru import logger
from tqdm import tqdm

from yolox import dist
from yolox.data.cache import ResizedImages
from yolox.engine.batches import batches_of
from yolox.engine.curves import Curves, make_curves
from yolox.engine.finite import DivergedError
from yolox.engine.guard import require_no_collapse, take_back
from yolox.engine.log import set_up_log
from yolox.engine.manifest import write_manifest
from yolox.engine.meters import Meter
from yolox.engine.progress import log_end, log_plain_phase, log_start, progress_bar, report_step
from yolox.engine.restart import after_restart
from yolox.engine.saving import save
from yolox.engine.setup import prepare
from yolox.engine.signals import Stop, StoppedInSetUp, stop_signals
from yolox.engine.state import Experiment, Run, RunOptions
from yolox.engine.step import train_step
from yolox.engine.validation import average_statistics, evaluate_epoch, report_best
from yolox.errors import YoloxError
from yolox.files import remove_partials
from yolox.lock import locked

STOP, SAVE = 2.0, 1.0  # what a process wishes after a step


@dataclass(frozen=True)
class TrainResult:
    """The best and the last AP (fractions, NaN without boxes), and where the checkpoints are.

    report_ap: AP of the best checkpoint on the validation images, where others chose the epoch.
    """

    best_ap: float
    last_ap: float
    folder: Path
    report_ap: float | None = None


@dataclass
class Loop:
    """What the steps of a run need besides its state."""

    stop: Stop
    curves: Curves
    source: ResizedImages
    bar: tqdm  # type: ignore[type-arg]
    meter: Meter
    last_save: float  # time.monotonic()


def train(exp: Experiment, options: RunOptions) -> TrainResult:
    """Train an experiment to its end and return what it reached.

    Raises YoloxError when interrupted (after saving `latest_ckpt.pth`) or when the loss stops
    being finite (after saving the names of the batch's files); UsageError where another run has
    the folder.
    """
    cv2.setNumThreads(0)  # threads of OpenCV do not survive the fork into loader processes
    folder = Path(exp.output_dir) / exp.exp_name
    with stop_signals() as stop, ExitStack() as stack:
        try:
            if dist.rank() == 0:
                stack.enter_context(locked(folder))
                remove_partials(folder)
            set_up_log(folder / "train_log.txt", first=dist.rank() == 0)
            run, loop = _set_up(exp, after_restart(options, folder), stop, stack)
        except StoppedInSetUp as signal:
            raise YoloxError(
                f"stopped by {signal} before the first step: nothing was trained, nothing is lost"
            ) from None
        stop.in_set_up = False
        _train_guarded(run, loop)
        if run.select_dataset is not None:
            _end_if_stopped(run, loop, "after the last step; continue with --resume")
        report_ap = report_best(run)
        if dist.rank() == 0:
            write_manifest(run, finished=True, report_ap=report_ap)
        log_end(run, run.curr_ap, report_ap)
        _end_if_stopped(run, loop, "when training was done")
    best_ap = run.best_ap if run.best_ap >= 0 else float("nan")
    return TrainResult(best_ap, run.curr_ap, run.folder, report_ap)


def _set_up(exp: Experiment, options: RunOptions, stop: Stop, stack: ExitStack) -> tuple[Run, Loop]:
    """Everything before the first step, the evaluation of the start included."""
    run = prepare(exp, options)
    log_start(run)
    if dist.rank() == 0:
        write_manifest(run, finished=False)
    curves = make_curves(options.logger, run.folder, exp.exp_name, exp.options())
    stack.enter_context(closing(curves))
    source = ResizedImages(run.dataset, run.sizes.input_size, options.cache)
    if run.spec.starts_evaluated and run.best_ap < 0:
        evaluate_epoch(run, curves)
        save(run, "best")
    bar = stack.enter_context(progress_bar(run))
    return run, Loop(stop, curves, source, bar, Meter(), time.monotonic())


def _train_guarded(run: Run, loop: Loop) -> None:
    """Train to the end; with a guard, also from where it takes the run back to."""
    while True:
        try:
            _train_steps(run, loop)
            return
        except DivergedError as cause:
            if not run.spec.guard:
                raise
            if not take_back(run, cause):
                return
            loop.meter = Meter()


def _train_steps(run: Run, loop: Loop) -> None:
    """Train from the current step to the end, or until there is no gain any more."""
    if run.awaits_evaluation:
        _evaluate(run, loop)
    loop.bar.n, clock = run.step, time.perf_counter()
    with closing(batches_of(run, loop.source)) as batches:
        while not run.is_done:
            if run.step == run.spec.first_plain_epoch * run.steps_per_epoch:
                log_plain_phase(run)
            losses, waited = train_step(run, batches)
            now = time.perf_counter()
            loop.meter.add(iteration=now - clock, data=waited, **losses)
            clock = now
            loop.bar.update()
            report_step(run, loop.meter, loop.curves)
            if run.step % run.steps_per_epoch == 0:
                _end_of_epoch(run, loop)
                clock = time.perf_counter()
            _stop_or_save(run, loop)


def _end_of_epoch(run: Run, loop: Loop) -> None:
    """Save; evaluate when due.

    It is saved before the evaluation, which may take long, so that a run which is killed in it
    begins there when it is resumed.
    """
    average_statistics(run)
    run.awaits_evaluation = _evaluation_is_due(run, run.epoch)
    _save(run, loop)
    if run.awaits_evaluation:
        _end_if_stopped(run, loop, f"after step {run.step}; continue with --resume")
        _evaluate(run, loop)


def _evaluate(run: Run, loop: Loop) -> None:
    """Evaluate the epoch that has ended, and save what came of it."""
    epoch = run.epoch  # epochs done
    improved = evaluate_epoch(run, loop.curves)
    require_no_collapse(run)
    run.awaits_evaluation = False
    history = [f"epoch_{epoch}"] if run.spec.save_history_ckpt else []
    _save(run, loop, "last_epoch", *history, *(["best"] if improved else []))
    if improved and dist.rank() == 0:
        write_manifest(run, finished=False)  # the best checkpoint's hash
    if run.spec.patience and run.evaluations_without_gain >= run.spec.patience:
        logger.info("no gain in {} evaluations: stopped early", run.evaluations_without_gain)


def _evaluation_is_due(run: Run, epoch: int) -> bool:
    plain = epoch > run.spec.first_plain_epoch
    watched = run.spec.guard and epoch == 1
    return plain or watched or epoch % run.spec.eval_interval == 0 or epoch == run.spec.max_epoch


def _stop_or_save(run: Run, loop: Loop) -> None:
    """After a step: save where it is time to. Raises YoloxError where a signal said to stop."""
    wish = dist.largest(_wish(run, loop))
    if not wish or run.is_done:
        return
    if run.saved_step != run.step:
        average_statistics(run)
        _save(run, loop)
    if wish == STOP:
        _end_if_stopped(run, loop, f"after step {run.step}; continue with --resume")


def _end_if_stopped(run: Run, loop: Loop, when: str) -> None:
    """Raises YoloxError in every process where a signal came to one of them; all is saved."""
    if dist.any_process(loop.stop.is_set):
        dist.barrier()  # nobody leaves, and so ends the job, before rank 0 has saved
        raise YoloxError(f"interrupted {when}")


def _wish(run: Run, loop: Loop) -> float:
    """What this process wants after a step. The first one's clock counts for all."""
    if loop.stop.is_set:
        return STOP
    spec = run.spec
    late = spec.save_minutes and time.monotonic() - loop.last_save >= 60 * spec.save_minutes
    due = spec.save_interval and run.step % spec.save_interval == 0
    return SAVE if (late and dist.rank() == 0) or due else 0.0


def _save(run: Run, loop: Loop, *others: str) -> None:
    save(run, *others)
    loop.last_save = time.monotonic()
