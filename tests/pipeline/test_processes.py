"""Several processes on the CPU: equal gradients, evaluation without duplicates, dying workers."""

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from tests.pipeline.runs import train_words
from yolox.cli.common import run
from yolox.cli.eval import main as eval_main
from yolox.engine.launch import JobSize, launch
from yolox.errors import YoloxError

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 240  # seconds after which a job counts as hanging

GRADIENTS = """
    import sys, torch, yolox
    from yolox import dist
    from yolox.engine.launch import joined
    from yolox.data.cache import ResizedImages
    from yolox.engine.batches import batches_of
    from yolox.engine.setup import prepare
    from yolox.engine.state import RunOptions
    from yolox.engine.step import forward_backward
    from yolox.exp import get_exp
    exp = get_exp(exp_file=sys.argv[1])
    exp.freeze_bn, exp.max_epoch = True, 9
    with joined("auto", torch.device("cpu")):
        run = prepare(exp, RunOptions(batch_size=8, logger="none"))
        run.step = 12  # another size than the first steps
        source = ResizedImages(run.dataset, run.sizes.input_size)
        losses = forward_backward(run, next(batches_of(run, source)))
        if dist.rank() == 0:
            grads = {k: p.grad for k, p in run.model.named_parameters()}
            torch.save({"grads": grads, "world": dist.world_size()}, sys.argv[2])
"""

KILLED = """
import os, signal
from tiny import Exp as Tiny
class Exp(Tiny):
    def get_criterion(self):
        criterion = super().get_criterion()
        class Deadly(type(criterion)):
            calls = 0
            def __call__(self, predictions, targets, **phase):
                type(self).calls += 1
                if os.environ.get("RANK") == "1" and type(self).calls == 3:
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().__call__(predictions, targets, **phase)
        criterion.__class__ = Deadly
        return criterion
"""


NO_DATA_ON_RANK_1 = """
import os
from tiny import Exp as Tiny
class Exp(Tiny):
    def __init__(self):
        super().__init__()
        if os.environ.get("RANK") == "1":
            self.data_dir = "nowhere"
"""


HANGS_ON_RANK_1 = """
import os, signal, time
from tiny import Exp as Tiny
class Exp(Tiny):
    def get_criterion(self):
        criterion = super().get_criterion()
        class Hanging(type(criterion)):
            def __call__(self, predictions, targets, **phase):
                if os.environ.get("RANK") == "1":
                    signal.signal(signal.SIGTERM, signal.SIG_DFL)
                    time.sleep(600)
                return super().__call__(predictions, targets, **phase)
        criterion.__class__ = Hanging
        return criterion
"""


SLOW = """
import sys, time
from tiny import Exp as Tiny
class Exp(Tiny):
    def get_criterion(self):
        criterion = super().get_criterion()
        class Slow(type(criterion)):
            def __call__(self, predictions, targets, **phase):
                print("in a step", file=sys.stderr, flush=True)
                time.sleep(8)
                return super().__call__(predictions, targets, **phase)
        criterion.__class__ = Slow
        return criterion
"""


DIES_ONCE = """
import os, signal
from tiny import Exp as Tiny
class Exp(Tiny):
    def get_criterion(self):
        criterion = super().get_criterion()
        class Deadly(type(criterion)):
            calls = 0
            def __call__(self, predictions, targets, **phase):
                type(self).calls += 1
                first = os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0"
                if first and os.environ.get("RANK") == "1" and type(self).calls == 5:
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().__call__(predictions, targets, **phase)
        criterion.__class__ = Deadly
        return criterion
"""


FAILS_ON_RANK_1 = """
import os
from tiny import Exp as Tiny
from yolox.errors import DataError
class Exp(Tiny):
    def get_criterion(self):
        criterion = super().get_criterion()
        class Failing(type(criterion)):
            def __call__(self, predictions, targets, **phase):
                if os.environ.get("RANK") == "1":
                    raise DataError("a bad image on rank 1")
                return super().__call__(predictions, targets, **phase)
        criterion.__class__ = Failing
        return criterion
"""


def _python(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **env},
        timeout=LIMIT,
        capture_output=True,
        text=True,
        check=False,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_gradients_of_two_processes_equal_those_of_one(tiny_exp, tmp_path, monkeypatch):
    script = tmp_path / "gradients.py"
    script.write_text(textwrap.dedent(GRADIENTS))
    monkeypatch.setattr(sys, "argv", [str(script), str(tiny_exp), str(tmp_path / "one.pt")])
    runpy.run_path(str(script))
    two = _python(
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        f"--master-port={_free_port()}",
        str(script),
        str(tiny_exp),
        str(tmp_path / "two.pt"),
        cwd=tmp_path,
    )
    assert two.returncode == 0, two.stderr
    alone, together = (torch.load(tmp_path / f"{name}.pt") for name in ("one", "two"))
    assert (alone["world"], together["world"]) == (1, 2)
    largest = max(float(grad.abs().max()) for grad in alone["grads"].values())
    for key, grad in alone["grads"].items():
        torch.testing.assert_close(together["grads"][key], grad, rtol=1e-4, atol=1e-5 * largest)


def test_a_killed_worker_ends_the_job(tiny_exp, tmp_path):
    deadly = tmp_path / "deadly.py"
    deadly.write_text(KILLED)
    done = _python(*train_words(deadly, "-d", "2", "max_epoch", "9"), cwd=tmp_path)
    assert done.returncode == 1
    assert "worker 1" in done.stderr
    assert "was killed by signal 9; the other workers were stopped" in done.stderr


@pytest.mark.slow
def test_data_missing_for_one_process_ends_the_job(tiny_exp, tmp_path):
    exp = tmp_path / "no_data.py"
    exp.write_text(NO_DATA_ON_RANK_1)
    done = _python(*train_words(exp, "-d", "2"), cwd=tmp_path)
    assert done.returncode == 3
    first, *others = [line for line in done.stderr.splitlines() if "| ERROR" in line]
    assert "data folder nowhere does not exist" in first
    # The other process may have come as far as to say that it was stopped.
    assert all("stopped by SIGTERM before the first step" in line for line in others)
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_job(tiny_exp, tmp_path):
    exp = tmp_path / "hanging.py"
    exp.write_text(HANGS_ON_RANK_1)
    start = time.monotonic()
    done = _python(*train_words(exp, "-d", "2", "--dist-timeout", "0.1"), cwd=tmp_path)
    assert done.returncode == 1
    assert "process 0: waited 0.1 minutes for the others, one hangs (--dist-timeout)" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - start < 100


def test_a_port_in_use_is_one_line(capfd):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(YoloxError, match=f"port {port} of 127.0.0.1:{port} is in use"):
            launch(["-c", "pass"], JobSize(devices=2, url=f"tcp://127.0.0.1:{port}"))
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_a_second_signal_stops_a_job_at_once(tiny_exp, tmp_path):
    exp = tmp_path / "slow.py"
    exp.write_text(SLOW)
    command = [sys.executable, *train_words(exp, "-d", "2")]
    job = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while "in a step" not in job.stderr.readline():
        pass
    job.send_signal(signal.SIGTERM)
    time.sleep(1)
    job.send_signal(signal.SIGTERM)
    said = job.communicate(timeout=LIMIT)[1]  # until the workers have closed it, too
    assert job.returncode == 1
    assert "stopped at once by a second signal, SIGTERM: not saved" in said
    assert not list(tmp_path.glob("out/*/latest_ckpt.pth"))


def test_workers_end_with_their_launcher(tmp_path):
    worker = (
        "import time; from yolox.engine import launch; launch._end_with_parent(); "
        "print('ready', flush=True); time.sleep(600)"
    )
    outer = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=False)"
    )
    job = subprocess.Popen(
        [sys.executable, "-c", outer, worker],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert job.stdout.readline() == "ready\n"
    job.kill()
    said = job.communicate(timeout=LIMIT)[1]  # until the worker has closed it, too
    assert "the launcher is gone: this worker stops at once, unsaved" in said


@pytest.mark.slow
def test_torchrun_restarts_four_processes_from_the_last_checkpoint(tiny_exp, tmp_path):
    (tmp_path / "dies_once.py").write_text(DIES_ONCE)
    losses = []
    for name in ("dies_once", "tiny"):
        done = _python(
            "-m",
            "torch.distributed.run",
            "--nproc-per-node=4",
            "--max-restarts=1",
            f"--master-port={_free_port()}",
            *train_words(f"{name}.py", "-expn", name),
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert ("restart 1: continues from the last checkpoint" in done.stderr) == (
            len(losses) == 0
        )
        content = torch.load(tmp_path / "out" / name / "latest_ckpt.pth", weights_only=True)
        losses.append(content["model"])
    restarted, whole = losses
    for key, value in whole.items():
        torch.testing.assert_close(restarted[key], value)


def test_an_error_of_one_worker_ends_the_job_with_its_code(tiny_exp, tmp_path):
    failing = tmp_path / "failing.py"
    failing.write_text(FAILS_ON_RANK_1)
    done = _python(*train_words(failing, "-d", "2"), cwd=tmp_path)
    assert done.returncode == 3
    assert "a bad image on rank 1" in done.stderr
    assert done.stderr.count("| ERROR") == 1
    assert "Traceback" not in done.stderr


def test_a_stopped_job_is_resumed_and_evaluates_as_one_process_would(tiny_exp, tmp_path):
    words = train_words(tiny_exp, "-d", "2")
    options = ["max_epoch", "200", "eval_interval", "200", "no_aug_epochs", "0"]
    command = [sys.executable, *words, *options, "data_num_workers", "1"]
    job = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    said = []
    for line in job.stderr:
        said.append(line)
        if "step 2/3" in line:
            break
    job.send_signal(signal.SIGTERM)
    said.append(job.communicate(timeout=LIMIT)[1])
    assert job.returncode == 1
    assert "continue with --resume" in "".join(said)
    latest = tmp_path / "out/tiny/latest_ckpt.pth"
    step = torch.load(latest, weights_only=True)["state"]["step"]
    done = _python(
        *words, "max_epoch", str(step // 3 + 1), "--resume", "no_aug_epochs", "0", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert f"step {step % 3 + 1}" in done.stderr

    found = []
    for devices in ("1", "2"):
        target = tmp_path / f"eval_{devices}.json"
        words = [
            "-c",
            str(latest),
            "-d",
            devices,
            "-b",
            "2",
            "--conf",
            "0.001",
            "--device",
            "cpu",
            "--json",
            str(target),
        ]
        if devices == "1":
            assert run(eval_main, words) == 0
        else:
            done = _python(str(ROOT / "tools/eval.py"), *words, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
        found.append(json.loads(target.read_text()))
    one, two = found
    assert one["AP"] == pytest.approx(two["AP"], abs=1e-6)
    assert one["images"] == two["images"] == 6
    counts = [{k: c["detections"] for k, c in f["per_class"].items()} for f in found]
    assert counts[0] == counts[1]


@pytest.mark.slow
def test_two_agents_stand_for_two_machines(tiny_exp, tmp_path):
    port = _free_port()
    arguments = [
        "-m",
        "torch.distributed.run",
        "--nnodes=2",
        "--nproc-per-node=1",
        "--master-addr=127.0.0.1",
        f"--master-port={port}",
    ]
    command = [*train_words(tiny_exp, "max_epoch", "1")]
    agents = [
        subprocess.Popen(
            [sys.executable, *arguments, f"--node-rank={rank}", *command],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    outputs = [agent.communicate(timeout=LIMIT)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], outputs
    assert "2 process(es)" in outputs[0]
    assert (tmp_path / "out/tiny/latest_ckpt.pth").is_file()
