"""Who this process is among the processes of a job, and what they exchange.

Everything works in a single process too, so that callers need no second path.
"""

import os
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes of the job."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_rank() -> int:
    """Number of this process on its machine, from 0 (set by the launcher)."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes."""
    if world_size() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    return largest(float(flag)) > 0


def largest(value: float) -> float:
    """The largest of the processes' values, exchanged without waiting for any device."""
    if world_size() == 1:
        return value
    values = torch.tensor(value, dtype=torch.float32)
    dist.all_reduce(values, op=dist.ReduceOp.MAX)
    return float(values.item())


def gather_objects(value: Any) -> list[Any]:
    """The values of all processes in order of rank, on every process."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def from_first(value: T) -> T:
    """The value of the first process, on every process."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def barrier() -> None:
    """Wait for all processes."""
    if world_size() > 1:
        dist.barrier()


@torch.no_grad()
def average_buffers(model: nn.Module) -> None:
    """Replace floating-point buffers (batch-norm statistics) by their mean over processes."""
    if world_size() == 1:
        return
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.copy_(mean_over_processes(buffer))
