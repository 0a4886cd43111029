"""The checkpoints of a run: what they hold, in which order they are written, how they are read.

A run leaves `latest_ckpt.pth`, the ones saved before it (`latest_1_ckpt.pth`, the youngest, and so
on, `keep_latest` in all), `last_epoch_ckpt.pth`, `best_ckpt.pth` and `epoch_N_ckpt.pth`. The latest
one, which a resumed run starts from, is written last. A run that is killed in between does the
epoch again, comes to the same result, and writes the others again.
"""

import math
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from torch import Tensor

from yolox import dist
from yolox.engine import checkpoint
from yolox.engine.archive import DAMAGE
from yolox.engine.finite import check_losses, first_not_finite, require_finite_weights
from yolox.engine.optim import load_optimizer
from yolox.engine.restore import load_state, require_sound_optimizer
from yolox.engine.state import Run
from yolox.errors import ModelError
from yolox.families import spec_to_dict
from yolox.files import whole_file


def best_path(folder: Path) -> Path:
    """The checkpoint of the best evaluation."""
    return folder / "best_ckpt.pth"


def latest_path(folder: Path, age: int = 0) -> Path:
    """The latest checkpoint, or the one saved `age` times before it."""
    return folder / (f"latest_{age}_ckpt.pth" if age else "latest_ckpt.pth")


def save(run: Run, *others: str) -> None:
    """Write the checkpoint of this moment under the other names and then as the latest one.

    Collective: every process calls it, the first one writes. Raises DivergedError before anything
    is written where a loss or the weights are not finite; YoloxError where they cannot be written.
    """
    check_losses(run)
    require_finite_weights(run)
    if dist.rank() == 0:
        paths = [run.folder / f"{name}_ckpt.pth" for name in others]
        for path in paths[:1]:
            checkpoint.save(path, contents(run))
        for path in paths[1:]:
            _copy(paths[0], path)
        _write_latest(run, paths[0] if paths else None)
    run.saved_step = run.step


def _write_latest(run: Run, source: Path | None) -> None:
    """Write `latest`, from a file that has the same content or anew; keep those before it."""
    latest, keep = latest_path(run.folder), run.spec.keep_latest
    if run.saved_step is None and not run.options.continues_folder:
        for path in older_latest(run.folder):  # of another run: never to be fallen back on
            path.unlink()

    def write() -> None:
        if source is None:
            checkpoint.save(latest, contents(run))
        else:
            _copy(source, latest)

    same_step = run.saved_step == run.step  # saved before the evaluation: to be replaced
    if keep < 2 or same_step or not (run.latest_is_ours and latest.is_file()):
        write()
    else:
        with whole_file(latest_path(run.folder, 1)) as previous:
            _link(latest, previous)
            write()
            for age in range(keep - 1, 1, -1):
                newer = latest_path(run.folder, age - 1)
                if newer.is_file():
                    newer.replace(latest_path(run.folder, age))
    run.latest_is_ours = True


def older_latest(folder: Path) -> list[Path]:
    """`latest_N_ckpt.pth` in a folder, the youngest first."""
    found = {path.name: path for path in folder.glob("latest_*_ckpt.pth")}
    ages = [name.removeprefix("latest_").removesuffix("_ckpt.pth") for name in found]
    numbers = sorted(int(age) for age in ages if age.isdigit())
    return [latest_path(folder, number) for number in numbers]


def _link(source: Path, target: Path) -> None:
    """A second name for a file; a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _copy(source: Path, target: Path) -> None:
    with whole_file(target) as work:
        shutil.copyfile(source, work)


def read_latest(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The latest checkpoint that is whole. A damaged one is skipped with a warning.

    Raises ModelError where there is none.
    """
    paths = [latest_path(folder), *older_latest(folder)]
    failures: list[ModelError] = []
    for path in paths:
        try:
            content = checkpoint.read(path)
            _require_finite_content(path, content)
        except ModelError as error:
            failures.append(error)
            continue
        for failure in failures:
            logger.warning("{}: {} is taken instead", failure, path.name)
        return path, content
    raise failures[0]


def _require_finite_content(path: Path, content: dict[str, Any]) -> None:
    state = content.get("state")
    weights = [content.get("model"), state.get("raw_model") if isinstance(state, dict) else None]
    for named in weights:
        if isinstance(named, dict):
            tensors = ((str(key), value) for key, value in named.items())
            found = first_not_finite(pair for pair in tensors if isinstance(pair[1], Tensor))
            if found is not None:
                raise ModelError(f"checkpoint {path}: {found} holds values that are not finite")


def contents(run: Run) -> dict[str, Any]:
    """The checkpoint of this moment, to be saved by rank 0."""
    return {
        "start_epoch": run.epoch,
        "model": run.eval_model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "best_ap": max(run.best_ap, 0.0),
        "curr_ap": None if math.isnan(run.curr_ap) else run.curr_ap,
        "spec": spec_to_dict(run.exp.detector_spec()),
        "channels": run.channels,
        "class_names": list(run.dataset.class_names),
        "category_ids": list(run.dataset.category_ids),
        "exp": run.exp.origin(),
        "masks": {name: mask.cpu() for name, mask in run.masks.items()},
        "state": {
            "raw_model": run.model.state_dict(),
            "ema_updates": run.ema.updates if run.ema is not None else 0,
            "scaler": run.scaler.state_dict(),
            "rng": torch.get_rng_state(),
            "step": run.step,
            "steps_per_epoch": run.steps_per_epoch,
            "best_ap": run.best_ap,
            "optimizer_name": run.spec.optimizer,
            "evaluations_without_gain": run.evaluations_without_gain,
            "skipped_steps": run.skipped_steps,
            "lr_scale": run.lr_scale,
            "taken_back": run.taken_back,
            "run_id": run.run_id,
            "job": run.job,
            "parent": run.parent,
            "awaits_evaluation": run.awaits_evaluation,
        },
    }


def take_up(run: Run, content: dict[str, Any]) -> None:
    """Continue from a checkpoint: ours exactly, an official YOLOX one as YOLOX does.

    Raises ModelError where the training state is damaged or of another optimiser.
    """
    try:
        _take_up(run, content)
    except DAMAGE as error:
        raise ModelError(f"the training state cannot be taken up: {error!r}") from error


def _take_up(run: Run, content: dict[str, Any]) -> None:
    run.best_ap = float(content.get("best_ap", 0.0))
    run.curr_ap = math.nan if content.get("curr_ap") is None else float(content["curr_ap"])
    start_epoch = int(content.get("start_epoch", 0))
    if run.options.start_epoch is not None:
        start_epoch = run.options.start_epoch - 1
    run.step = start_epoch * run.steps_per_epoch
    state = content.get("state")
    made_by = state["optimizer_name"] if state else "sgd"
    if made_by != run.spec.optimizer:
        raise ModelError(f"the checkpoint was trained with {made_by}, not {run.spec.optimizer}")
    if "optimizer" in content:
        try:
            load_optimizer(run.optimizer, content["optimizer"])
            require_sound_optimizer(run.optimizer, "the checkpoint")
        except ValueError as error:
            raise ModelError(f"the optimiser state does not fit: {error}") from error
    if state is None:
        if run.ema is not None:
            run.ema.updates = run.step
        logger.info("no raw weights in the checkpoint: training goes on from the averaged ones")
    else:
        _take_up_state(run, state)
    if run.best_ap >= 0 and dist.rank() == 0 and not best_path(run.folder).is_file():
        logger.warning(
            "{} is not here: its AP {:.4f} no longer counts, the next evaluation is the best",
            best_path(run.folder),
            run.best_ap,
        )
        run.best_ap = -1.0
    run.best_ap = dist.from_first(run.best_ap)


def _take_up_state(run: Run, state: dict[str, Any]) -> None:
    """The part of a checkpoint that official YOLOX does not write."""
    load_state(run.model, state["raw_model"], "the checkpoint's raw model")
    if run.ema is not None:
        run.ema.updates = int(state["ema_updates"])
    if state["scaler"] and run.scaler.is_enabled():
        run.scaler.load_state_dict(state["scaler"])
    torch.set_rng_state(state["rng"])
    run.best_ap = float(state["best_ap"])
    run.evaluations_without_gain = int(state["evaluations_without_gain"])
    run.skipped_steps = int(state.get("skipped_steps", 0))
    run.loss_scale = None
    run.lr_scale = float(state.get("lr_scale", 1.0))
    run.taken_back = int(state.get("taken_back", 0))
    run.run_id = str(state.get("run_id", run.run_id))
    run.parent = state.get("parent", run.parent)
    awaits = bool(state.get("awaits_evaluation", False))
    run.awaits_evaluation = awaits and run.options.start_epoch is None
    if state["steps_per_epoch"] == run.steps_per_epoch and run.options.start_epoch is None:
        run.step = int(state["step"])
