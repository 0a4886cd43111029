"""How a job is started, without starting one, and which device a process takes."""

import os
from types import SimpleNamespace

import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from yolox.engine import launch
from yolox.engine.launch import JobSize, is_worker, joined, needs_launch, pick_device
from yolox.engine.state import RunOptions
from yolox.errors import UsageError, YoloxError


@pytest.fixture
def alone(monkeypatch):
    """Not a worker; what `launch` sets in the environment is taken back."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "YOLOX_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    os.environ.pop("OMP_NUM_THREADS", None)


@pytest.fixture
def started(alone, monkeypatch):
    """The configurations and commands that would have been started; raises what is put in."""
    calls, failures = [], []

    def elastic(config, executable):
        def run(*words):
            calls.append((config, words))
            if failures:
                raise failures.pop()

        return run

    monkeypatch.setattr(launch, "elastic_launch", elastic)
    return calls, failures


def test_only_several_processes_need_a_launcher(alone, monkeypatch):
    assert not needs_launch(JobSize())
    assert needs_launch(JobSize(devices=2))
    assert needs_launch(JobSize(machines=2))
    os.environ["RANK"] = "0"
    assert not is_worker()
    os.environ["WORLD_SIZE"] = "2"
    assert is_worker()
    assert not needs_launch(JobSize(devices=2))


def test_processes_of_one_machine_and_their_threads(started, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 9)
    assert launch.launch(["train.py", "-b", "8"], JobSize(devices=2)) == 0
    (config, words), *_ = started[0]
    assert words == ("-u", "train.py", "-b", "8")
    assert (config.min_nodes, config.max_nodes, config.nproc_per_node) == (1, 1, 2)
    assert config.rdzv_endpoint.startswith("127.0.0.1:")
    assert (config.max_restarts, config.rdzv_configs["rank"]) == (0, 0)
    assert os.environ["OMP_NUM_THREADS"] == "4"
    launch.launch(["train.py"], JobSize(devices=16))
    assert os.environ["OMP_NUM_THREADS"] == "4"  # the user's own value stays
    ids = {config.run_id for config, _ in started[0]}
    assert len(ids) == 2


def test_machines_meet_where_they_are_told_to(started):
    size = JobSize(devices=4, machines=3, machine_rank=2, url="tcp://10.0.0.1:2345")
    launch.launch(["train.py"], size)
    launch.launch(["train.py"], size)
    (config, _), (again, _) = started[0]
    assert config.rdzv_endpoint == "10.0.0.1:2345"
    assert (config.min_nodes, config.max_nodes, config.rdzv_configs["rank"]) == (3, 3, 2)
    assert config.run_id == again.run_id == "yolox"


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (JobSize(machines=2), "needs --dist-url"),
        (JobSize(machines=2, machine_rank=2, url="tcp://a:1"), "2 is not below --num_machines 2"),
        (JobSize(machine_rank=-1), "-1 is not below"),
        (JobSize(machines=2, url="tcp://a"), "is not tcp://HOST:PORT"),
        (JobSize(machines=2, url="tcp://:1"), "is not tcp://HOST:PORT"),
        (JobSize(machines=2, url="tcp://a:b"), "is not tcp://HOST:PORT"),
    ],
)
def test_jobs_that_cannot_be(started, size, words):
    with pytest.raises(UsageError, match=words):
        launch.launch([], size)
    assert not started[0]


def test_how_a_worker_failed(started):
    def failed(code):
        error = ChildFailedError.__new__(ChildFailedError)
        failure = SimpleNamespace(exitcode=code, pid=77)
        error.get_first_failure = lambda: (3, failure)
        return error

    started[1].append(failed(4))
    assert launch.launch([], JobSize(devices=2)) == 4
    started[1].append(failed(-9))
    with pytest.raises(YoloxError, match=r"worker 3 \(pid 77\) was killed by signal 9"):
        launch.launch([], JobSize(devices=2))


def test_a_single_process_joins_nobody(alone, monkeypatch):
    def init(*arguments, **options):
        raise AssertionError("joined a group")

    monkeypatch.setattr(launch.torch_dist, "init_process_group", init)
    with joined("auto", torch.device("cpu")):
        pass
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1"}
    with joined("auto", torch.device("cpu")):
        pass


@pytest.mark.parametrize(
    ("backend", "device", "chosen"),
    [("auto", "cpu", "gloo"), ("auto", "cuda", "cpu:gloo,cuda:nccl"), ("gloo", "cuda", "gloo")],
)
def test_processes_talk_through_what_fits_the_device(alone, monkeypatch, backend, device, chosen):
    said = []
    fakes = {
        "init_process_group": lambda name, **options: said.append(name),
        "destroy_process_group": lambda: said.append("end"),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(launch.torch_dist, name, fake)
    monkeypatch.setattr(launch, "_end_with_parent", lambda: None)
    meeting = [(torch.distributed.HashStore(), 0, 2)]
    monkeypatch.setattr(launch, "rendezvous", lambda url, timeout: iter(meeting))
    os.environ |= {"RANK": "0", "WORLD_SIZE": "2"}
    with joined(backend, torch.device(device)):
        said.append("work")
    assert said == [chosen, "work", "end"]
    with pytest.raises(UsageError, match="needs CUDA"), joined("nccl", torch.device("cpu")):
        pass


@pytest.fixture
def machine(monkeypatch):
    """A machine with some CUDA devices, and MPS or not."""

    def make(cuda, mps=False):
        chosen = []
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        return chosen

    return make


def test_the_best_device_there_is(machine, monkeypatch):
    machine(0)
    assert pick_device() == torch.device("cpu")
    machine(0, mps=True)
    assert pick_device() == torch.device("mps")
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "1")
    chosen = machine(2, mps=True)
    assert pick_device() == torch.device("cuda", 1)
    assert pick_device("cuda:0") == torch.device("cuda", 0)
    assert chosen == [torch.device("cuda", 1), torch.device("cuda", 0)]


def test_devices_that_are_not_there(machine, monkeypatch):
    machine(1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(UsageError, match="cuda:1 is not there: 1 CUDA"):
        pick_device()
    with pytest.raises(UsageError, match="mps is not there"):
        pick_device("mps")
    with pytest.raises(UsageError, match="device 'toaster'"):
        pick_device("toaster")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch size 0 is not positive"),
        ({"precision": "fp8"}, "precision 'fp8' is none of"),
        ({"start_epoch": 3}, "needs --resume"),
        ({"start_epoch": 0, "resume": True}, "counts from 1"),
    ],
)
def test_options_of_a_run_that_cannot_be(options, words):
    with pytest.raises(UsageError, match=words):
        RunOptions(**options)
    RunOptions(batch_size=1, start_epoch=1, resume=True, precision="bf16")
