"""What overflows in fp16 is skipped; a scaler on the CPU stands in for that of CUDA."""

import pytest
import torch

import yolox.engine.step as step
import yolox.engine.train as trainer
from tests.pipeline.runs import run_training
from yolox.engine import checkpoint
from yolox.errors import YoloxError


@pytest.fixture
def overflow(monkeypatch):
    """Make losses or gradients of the given steps overflow."""
    scaler, compute = torch.amp.GradScaler, step._all_losses
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device, enabled: scaler(device))
    monkeypatch.setattr("yolox.engine.progress.complexity", lambda model, size: None)
    monkeypatch.setattr("yolox.engine.progress.describe", lambda size, size_hw: "")

    def install(steps, what):
        def losses(run, *rest):
            found = compute(run, *rest)
            if run.step in steps:
                weight = next(run.model.parameters()).sum()
                if what == "loss":
                    found["total_loss"] = found["total_loss"] * float("inf")
                    for module in run.model.modules():
                        if isinstance(module, torch.nn.BatchNorm2d):
                            module.running_mean.data.fill_(float("nan"))
                else:
                    found["total_loss"] = found["total_loss"] + (0 * weight).sqrt()
            return found

        monkeypatch.setattr(step, "_all_losses", losses)

    return install


@pytest.mark.parametrize("what", ["loss", "gradients"])
def test_an_overflow_changes_nothing_but_the_scale(tiny_exp, overflow, what, monkeypatch, capsys):
    overflow([1], what)
    seen, train_step = [], trainer.train_step

    def observed(run, batches):
        found = train_step(run, batches)
        weights = {name: value.clone() for name, value in run.model.named_parameters()}
        seen.append((weights, run.scaler.get_scale(), run.ema.updates, run.skipped_steps))
        return found

    monkeypatch.setattr(trainer, "train_step", observed)
    _, result = run_training(tiny_exp, max_epoch=1, warmup_epochs=0)
    (before, *_), (skipped, scale, updates, count), (after, *_) = seen
    assert all(torch.equal(value, skipped[name]) for name, value in before.items())
    assert not all(torch.equal(value, after[name]) for name, value in skipped.items())
    assert (scale, updates) == (2.0**15, 2)
    assert count == 1
    assert f"step 1 is skipped, its {what} overflowed (1 in a row)" in capsys.readouterr().err
    content = checkpoint.read(result.folder / "latest_ckpt.pth")
    assert all(bool(torch.isfinite(value).all()) for value in content["model"].values())


def test_an_overflow_at_the_first_step_leaves_no_momentum(tiny_exp, overflow, monkeypatch):
    overflow([0], "gradients")
    seen, train_step = [], trainer.train_step

    def observed(run, batches):
        found = train_step(run, batches)
        states = run.optimizer.state.values()
        seen.append([value for state in states for value in state.values() if value is not None])
        return found

    monkeypatch.setattr(trainer, "train_step", observed)
    run_training(tiny_exp, max_epoch=1, warmup_epochs=0)
    assert not seen[0]
    assert seen[1]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("loss", r"loss is \S+ at step 6; the batch's files are named"),
        ("gradients", "gradients are not finite at step 6, nor in the 2 steps before"),
    ],
)
def test_too_many_in_a_row_end_the_run(tiny_exp, overflow, monkeypatch, what, said):
    monkeypatch.setattr(step, "MOST_SKIPPED", 2)
    overflow([1, 2, 4, 5, 6], what)
    with pytest.raises(YoloxError, match=said):
        run_training(tiny_exp, max_epoch=3)
