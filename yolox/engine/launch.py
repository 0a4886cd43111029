"""Start the processes of a job and join them: `-d N`, several machines, or under torchrun.

Workers run under torch's elastic agent: when one dies, the agent ends the others, so that a job
fails instead of hanging. A worker that waits too long for the others ends the job, too, and workers
whose agent is gone end themselves.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import torch
import torch.distributed as torch_dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.distributed.rendezvous import rendezvous

from yolox import dist
from yolox.defaults import TIMEOUT_MINUTES
from yolox.errors import UsageError, YoloxError

RESTART_COUNT = "TORCHELASTIC_RESTART_COUNT"  # set by torchrun
SHUTDOWN_SECONDS = 60  # for workers to finish a step and save, before the agent kills them
GRACE_SECONDS = 5.0  # for the agent to notice which worker failed first


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
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SHUTDOWN_SECONDS))
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
        if isinstance(error.__context__, SignalException):  # while the workers were saving
            raise YoloxError(
                f"stopped at once by a second signal, {error.sigval.name}: not saved"
            ) from error
        raise YoloxError(
            f"stopped by signal {error.sigval.name}; continue with --resume"
        ) from error
    except torch_dist.DistError as error:
        raise YoloxError(_network_line(error, endpoint)) from error
    return 0


def _network_line(error: BaseException, endpoint: str) -> str:
    """A failure of the processes' network in one line."""
    text = str(error)
    if "EADDRINUSE" in text or "address already in use" in text.lower():
        return f"port {endpoint.rpartition(':')[2]} of {endpoint} is in use: name another one"
    return f"the processes cannot meet at {endpoint}: {text.splitlines()[0]}"


@contextmanager
def joined(
    backend: str, device: torch.device, timeout_minutes: float = TIMEOUT_MINUTES
) -> Iterator[None]:
    """Join the processes of the job for the time of a block; nothing to do for a single one.

    backend: "auto" takes NCCL on CUDA and Gloo elsewhere. timeout_minutes: a process that waits
    longer for the others ends the job. Raises YoloxError where another process is gone or hangs.
    """
    if not is_worker() or int(os.environ["WORLD_SIZE"]) == 1:
        yield
        return
    chosen = backend if backend != "auto" else ("nccl" if device.type == "cuda" else "gloo")
    if chosen == "nccl" and device.type != "cuda":
        raise UsageError(f"--dist-backend nccl needs CUDA devices, this job runs on {device.type}")
    _end_with_parent()
    timeout = timedelta(minutes=timeout_minutes)
    try:
        store, rank, world = next(rendezvous("env://", timeout=timeout))
        # The store may be that of a failed try, with the addresses of processes that are gone.
        attempt = PrefixStore(f"attempt_{os.environ.get(RESTART_COUNT, '0')}", store)
        torch_dist.init_process_group(
            "cpu:gloo,cuda:nccl" if chosen == "nccl" else chosen,  # hosts exchange values, too
            store=attempt,
            rank=rank,
            world_size=world,
            timeout=timeout,
        )
    except ValueError as error:  # RANK without MASTER_ADDR or the like
        raise UsageError(f"the launcher's environment is incomplete: {error}") from error
    except RuntimeError as error:  # Gloo has no error class of its own
        endpoint = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise YoloxError(_network_line(error, endpoint)) from error
    try:
        yield
        # After an error the process just ends, and the agent ends the others: taking the group
        # down is collective, and would wait for peers that wait for this process.
        dist.barrier()
    except RuntimeError as error:
        reason = _peer_failure(error, timeout_minutes)
        if reason is None:
            raise
        time.sleep(GRACE_SECONDS)  # the agent ends this process here, if the other one is its own
        raise YoloxError(f"process {dist.rank()}: {reason}") from error
    torch_dist.destroy_process_group()


def _peer_failure(error: RuntimeError, timeout_minutes: float) -> str | None:
    """What an error of a collective says about the other processes; None for other errors."""
    text = str(error).lower()
    if any(mark in text for mark in ("timed out", "timeout")):
        return f"waited {timeout_minutes:g} minutes for the others, one hangs (--dist-timeout)"
    lost = ("connection closed", "connection reset", "broken pipe", "remote process exited")
    if isinstance(error, torch_dist.DistError) or any(mark in text for mark in lost):
        return "another process of the job has ended"
    return None


def _end_with_parent() -> None:
    """End this worker when its agent is gone: killed, or stopped by a second signal."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.write(2, b"the launcher is gone: this worker stops at once, unsaved\n")
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


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
