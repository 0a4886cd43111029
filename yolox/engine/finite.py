"""What has to stay finite in a training run: its losses and its weights.

Losses are looked at when the run reports or saves, not after each step: reading one makes the host
wait for the device, which then has nothing to do while the host prepares the next step.
"""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from yolox import dist
from yolox.engine.state import Run, Unchecked
from yolox.errors import YoloxError
from yolox.files import write_json


class DivergedError(YoloxError):
    """Training has left the range of finite numbers, or lost what the model could."""


def check_losses(run: Run) -> None:
    """Raises DivergedError where a loss since the last call was NaN or infinite, in every process.

    The processes that had it first write down the names of their batch's images before: what is not
    finite in one of them spreads to all. Collective; waits for the device.
    """
    bad = first_bad_loss(run.unchecked)
    run.unchecked.clear()
    first = -dist.largest(-math.inf if bad is None else -bad.step)
    if first == math.inf:
        return
    if bad is None or bad.step > first:
        raise DivergedError(f"loss is not finite at step {first:.0f} in another process")
    loss = float(bad.loss)
    files = [str(run.dataset.images[index].path) for index in bad.images]
    record = run.folder / f"nonfinite_step_{bad.step}_rank_{dist.rank()}.json"
    write_json(record, {"step": bad.step, "loss": str(loss), "files": files}, indent=2)
    raise DivergedError(
        f"loss is {loss} at step {bad.step}; the batch's files are named in {record}"
    )


def first_bad_loss(entries: list[Unchecked]) -> Unchecked | None:
    """The first entry whose loss is not finite. One wait for the device."""
    if not entries:
        return None
    finite = torch.isfinite(torch.stack([entry.loss for entry in entries])).tolist()
    return next((entry for entry, good in zip(entries, finite, strict=True) if not good), None)


def require_finite_weights(run: Run) -> None:
    """Raises DivergedError naming what is not finite of weights, average and optimiser state.

    Collective: it is raised in every process.
    """
    found = first_not_finite(_tensors_of_run(run))
    if dist.any_process(found is not None):
        raise DivergedError(
            f"{found or 'a value in another process'} is not finite after step {run.step}: "
            f"nothing was saved, the checkpoints in {run.folder} are as they were"
        )


def first_not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first tensor that holds NaN or an infinite value. One wait for the device."""
    named = [(name, tensor) for name, tensor in tensors if tensor.is_floating_point()]
    if not named:
        return None
    device = named[0][1].device
    flags = torch.stack([torch.isfinite(tensor).all().to(device) for _, tensor in named])
    if bool(flags.all()):
        return None
    return named[int(flags.logical_not().nonzero()[0])][0]


def _tensors_of_run(run: Run) -> Iterator[tuple[str, Tensor]]:
    yield from (("weight " + name, value) for name, value in run.model.state_dict().items())
    if run.ema is not None:
        average = run.ema.model.state_dict()
        yield from (("averaged weight " + name, value) for name, value in average.items())
    for number, values in enumerate(run.optimizer.state.values()):
        for key, value in values.items():
            if isinstance(value, Tensor):
                yield f"the optimiser's {key} of parameter {number}", value
