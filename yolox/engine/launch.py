"""Start the processes of a job and join them: `-d N`, several machines, or under torchrun.

Workers run under torch's elastic agent: when one dies, the agent ends the others, so that a job
fails instead of hanging.
"""

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import torch
import torch.distributed as torch_dist
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from yolox import dist
from yolox.errors import UsageError, YoloxError

TIMEOUT = timedelta(minutes=30)  # rank 0 evaluates metrics alone while the others wait


@dataclass(frozen=True)
class JobSize:
    """Processes per machine, machines, this machine's number, and where they meet."""

    devices: int = 1
    machines: int = 1
    machine_rank: int = 0
    url: str | None = None


def is_worker() -> bool:
    """Whether this process was started by a launcher (ours or torchrun)."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def needs_launch(size: JobSize) -> bool:
    """Whether workers must be started first."""
    return not is_worker() and (size.devices > 1 or size.machines > 1)


def launch(arguments: Sequence[str], size: JobSize) -> int:
    """Run `python arguments...` in every worker process and wait. Returns the exit code.

    Raises UsageError for a job that cannot be, YoloxError naming the worker that failed first.
    """
    if size.machines > 1 and not size.url:
        raise UsageError("--num_machines needs --dist-url tcp://HOST:PORT of machine 0")
    if not 0 <= size.machine_rank < size.machines:
        raise UsageError(
            f"--machine_rank {size.machine_rank} is not below --num_machines {size.machines}"
        )
    endpoint = (size.url or f"tcp://127.0.0.1:{_free_port()}").removeprefix("tcp://")
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"--dist-url {size.url!r} is not tcp://HOST:PORT")
    config = LaunchConfig(
        min_nodes=size.machines,
        max_nodes=size.machines,
        nproc_per_node=size.devices,
        run_id=os.environ.get("YOLOX_RUN_ID", "yolox") if size.machines > 1 else uuid4().hex,
        rdzv_backend="static",
        rdzv_endpoint=endpoint,
        rdzv_configs={"rank": size.machine_rank, "timeout": 900},
        max_restarts=0,
        monitor_interval=0.2,
    )
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // size.devices, 1)))
    try:
        elastic_launch(config, sys.executable)("-u", *arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0:
            return int(failure.exitcode)  # the worker has said why
        raise YoloxError(
            f"worker {rank} (pid {failure.pid}) was killed by signal {-failure.exitcode}; "
            "the other workers were stopped"
        ) from error
    except SignalException as error:
        raise YoloxError(
            f"stopped by signal {error.sigval.name}; continue with --resume"
        ) from error
    return 0


@contextmanager
def joined(backend: str, device: torch.device) -> Iterator[None]:
    """Join the processes of the job for the time of a block; nothing to do for a single one.

    backend: "auto" takes NCCL on CUDA and Gloo elsewhere.
    """
    if not is_worker() or int(os.environ["WORLD_SIZE"]) == 1:
        yield
        return
    chosen = backend if backend != "auto" else ("nccl" if device.type == "cuda" else "gloo")
    if chosen == "nccl" and device.type != "cuda":
        raise UsageError(f"--dist-backend nccl needs CUDA devices, this job runs on {device.type}")
    torch_dist.init_process_group(chosen, timeout=TIMEOUT)
    yield
    # After an error the process just ends, and the agent ends the others: taking the group down
    # is collective, and would wait for peers that wait for this process.
    dist.barrier()
    torch_dist.destroy_process_group()


def pick_device(name: str | None = None) -> torch.device:
    """The device of this process: the named one, else CUDA by local rank, MPS, or the CPU.

    Raises UsageError where a named device is not there.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu" and torch.backends.mps.is_available():
            name = "mps"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device {name!r}: {str(error).splitlines()[0]}") from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        index = device.index if device.index is not None else dist.local_rank()
        if index >= count:
            raise UsageError(f"device cuda:{index} is not there: {count} CUDA devices found")
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device mps is not there")
    return device


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
