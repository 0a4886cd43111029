"""A fine-tune that is watched: what destroys the model is taken back, and tried more slowly.

The start is evaluated first and counts as epoch 0. Where the loss or the weights stop being finite,
or an evaluation finds less than `guard_share` of the best AP so far, the run goes back to its best
checkpoint (weights, average, optimiser and step) with a third of the learning rate.
"""

from loguru import logger

from yolox import dist
from yolox.engine import checkpoint
from yolox.engine.finite import DivergedError
from yolox.engine.masks import apply_masks
from yolox.engine.restore import load_state
from yolox.engine.saving import best_path, save, take_up
from yolox.engine.state import Run

SLOWER = 3.0  # the learning rate is divided by this
MOST_TAKEN_BACK = 3  # then the rate is 1/27 of the recipe's: it is not the rate's fault


def require_no_collapse(run: Run) -> None:
    """Raises DivergedError where the AP just found is far below the best so far."""
    if run.spec.guard and run.curr_ap < run.spec.guard_share * run.best_ap:
        raise DivergedError(
            f"AP fell to {run.curr_ap:.4f} in epoch {run.epoch}, below {run.spec.guard_share:g} of "
            f"the best, {run.best_ap:.4f}"
        )


def take_back(run: Run, cause: DivergedError) -> bool:
    """Go back to the best checkpoint; whether it is worth going on from there.

    Collective. What was decided is saved at once, so that a resumed run decides the same.
    """
    path = best_path(run.folder)
    content = dist.from_first(checkpoint.read(path) if dist.rank() == 0 else {})
    scale, count = run.lr_scale, run.taken_back
    take_up(run, content)
    run.step = int(content["state"]["step"])
    run.lr_scale, run.taken_back = scale, count
    if run.ema is not None:
        load_state(run.ema.model, content["model"], f"checkpoint {path}")
    run.optimizer.zero_grad(set_to_none=True)
    for owner in (run.model, run.eval_model):
        apply_masks(owner, run.masks)
    if count == MOST_TAKEN_BACK:
        logger.warning("{}: taken back {} times already, training ends here", cause, count)
        return False
    run.lr_scale, run.taken_back = scale / SLOWER, count + 1
    logger.warning(
        "{}: taken back to epoch {}, on with 1/{:g} of the learning rate",
        cause,
        run.epoch,
        1 / run.lr_scale,
    )
    save(run)
    return True
