"""Training runs inside the test process, with their losses recorded."""

import signal
from pathlib import Path

from yolox.engine.state import RunOptions
from yolox.engine.train import TrainResult, train
from yolox.exp import get_exp

ROOT = Path(__file__).resolve().parents[2]


def run_training(
    exp_file: Path, *, name: str = "tiny", stop_after: int | None = None, **options: object
) -> tuple[list[float], TrainResult | None]:
    """Train; returns the total loss of every batch, and the result.

    stop_after: call this process's handler of SIGTERM while the batch of that number is worked on.
    (Real signals reach real jobs in `test_processes.py`.) Keywords of `RunOptions` go there, all
    others are options of the experiment.
    """
    known = {key: options.pop(key) for key in list(options) if key in RunOptions.__annotations__}
    exp = get_exp(exp_file=str(exp_file))
    exp.exp_name = name
    for key, value in options.items():
        setattr(exp, key, value)
    exp.validate()
    losses: list[float] = []
    make = exp.get_criterion

    def recording() -> object:
        criterion = make()

        class Recorder(type(criterion)):
            def __call__(self, predictions, targets, **phase):
                found = super().__call__(predictions, targets, **phase)
                losses.append(float(found["total_loss"].detach()))
                if stop_after is not None and len(losses) == stop_after:
                    signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)
                return found

        criterion.__class__ = Recorder
        return criterion

    exp.get_criterion = recording
    settings = {"batch_size": 4, "logger": "none", **known}
    return losses, train(exp, RunOptions(**settings))


def train_words(exp: object, *words: str) -> list[str]:
    """The words after `python` of a short training in a process of its own."""
    common = ["-f", str(exp), "-b", "4", "-l", "none", "--device", "cpu"]
    return [str(ROOT / "tools/train.py"), *common, *words]


def error_line(capsys):
    """The one line that a failed command logged as an error."""
    lines = [line for line in capsys.readouterr().err.splitlines() if "| ERROR" in line]
    assert len(lines) == 1
    return lines[0]
