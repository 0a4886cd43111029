"""Kill a training run before each rename of an epoch, go on, compare with a run left alone.

Run as a script in a process of its own: `kills.py EXP_FILE`. Every run is a forked child, so that
torch is imported once. Prints how many kills there were and what came out differently.
"""

import gc
import os
import shutil
import sys
from pathlib import Path

import torch

import yolox.engine.train as trainer
from yolox.engine.state import RunOptions
from yolox.exp import get_exp

AP = (0.1, 0.3)  # of the two epochs: both are the best when they are evaluated
KILLED = 9
NAMES = ("latest", "last_epoch", "best")


def evaluate_epoch(run, curves):
    """Evaluation with a known result."""
    run.curr_ap = AP[run.epoch - 1]
    improved = run.curr_ap > run.best_ap
    run.best_ap = max(run.best_ap, run.curr_ap)
    return improved


def train(exp_file, name, resume, kill_before=0):
    """Train in a child that ends before its rename of that number; returns its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    rename, seen = Path.replace, []

    def replace(self, target):
        seen.append(target)
        if len(seen) == kill_before:
            os._exit(KILLED)
        return rename(self, target)

    Path.replace, trainer.evaluate_epoch = replace, evaluate_epoch
    trainer.log_start = lambda run: None  # counting operations takes longer than training
    exp = get_exp(exp_file=exp_file)
    exp.exp_name, exp.save_history_ckpt = name, False
    trainer.train(exp, RunOptions(batch_size=12, logger="none", resume=resume))
    os._exit(0)


def content(folder, name):
    """What the last run has to leave: weights, state and AP of a checkpoint."""
    found = torch.load(folder / f"{name}_ckpt.pth", weights_only=True)
    for key in ("run_id", "rng"):  # torch's generator gives loaders a seed, and training nothing
        found["state"].pop(key)
    found["exp"]["options"].pop("exp_name")
    found.pop("sha256")  # of all, these included
    return found


def equal(one, other):
    """Whether two checkpoints hold the same values."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(v, other[k]) for k, v in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def main(exp_file):
    """Kill before each rename of the second epoch, resume and compare with a run left alone."""
    torch.set_num_threads(1)
    gc.disable()  # every child lives for seconds
    out = Path(get_exp(exp_file=exp_file).output_dir)
    assert train(exp_file, "whole", resume=False) == 0
    wanted = {name: content(out / "whole", name) for name in NAMES}
    assert train(exp_file, "begun", resume=False, kill_before=7)  # in the 2nd epoch == KILLED
    number, wrong = 1, []
    while True:
        folder = out / f"cut_{number}"
        shutil.copytree(out / "begun", folder)
        if train(exp_file, folder.name, resume=True, kill_before=number) != KILLED:
            break
        assert train(exp_file, folder.name, resume=True) == 0
        wrong += [(number, n) for n in NAMES if not equal(content(folder, n), wanted[n])]
        wrong += [(number, path.name) for path in folder.glob(".*.partial")]
        number += 1
    print(number - 1, "kills, different:", wrong)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
