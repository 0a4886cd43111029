"""Where the reference data lies, and small experiments to run; what is absent is skipped."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores: a thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

import yolox  # noqa: F401 - sets up OpenMP before torch is imported
from tests import reading, tracing
from yolox.data.synthetic import SyntheticSpec, make_dataset

settings.register_profile("patient", deadline=None)  # a busy machine is no fault
settings.load_profile("patient")

gc.set_threshold(100_000, 20, 20)  # seldom: it took a sixth of the time of the tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Jobs of several processes come first: at the end, all would wait for them."""
    items.sort(key=lambda item: "test_processes.py" not in item.nodeid)


ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

TINY_EXP = """
from yolox.exp import Exp as BaseExp


class Exp(BaseExp):
    def __init__(self):
        super().__init__()
        self.data_dir = {data_dir!r}
        self.output_dir = {output_dir!r}
        self.num_classes = 3
        self.depth, self.width = 0.33, 0.125
        self.input_size, self.test_size = (64, 64), (64, 96)
        self.random_size = (2, 3)
        self.data_num_workers = 0
        self.max_epoch, self.warmup_epochs, self.no_aug_epochs = 2, 1, 1
        self.eval_interval, self.print_interval = 1, 1
        self.basic_lr_per_img = 0.001
        self.eval_report = False
"""


@pytest.fixture(scope="session", autouse=True)
def _shorter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each graph is exported once, each checkpoint unpacked once, the disk not waited for.

    See `tests/tracing.py`, `tests/reading.py`; no test cuts the power.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yolox.export.onnx_graph.exported", tracing.Remembered(shared / "graphs"))
        patch.setattr("yolox.engine.checkpoint._load", reading.unpacked)
        patch.setattr("os.fsync", lambda number: None)
        yield


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Random weights of a test are the same in every order of the tests."""
    import torch  # after yolox, see above

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def samples_dir() -> Path:
    """Real images and weights (YOLOX_SAMPLES, or shared/samples beside the checkout)."""
    path = Path(os.environ.get("YOLOX_SAMPLES", SHARED / "samples"))
    if not path.is_dir():
        pytest.skip(f"sample data not found at {path} (set YOLOX_SAMPLES)")
    return path


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Full outputs of official YOLOX (YOLOX_GOLDEN, or shared/golden beside the checkout)."""
    path = Path(os.environ.get("YOLOX_GOLDEN", SHARED / "golden"))
    if not path.is_dir():
        pytest.skip(f"full reference outputs not found at {path} (set YOLOX_GOLDEN)")
    return path


@pytest.fixture(scope="session")
def synthetic_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 training and 6 validation images of 128 pixels. Tests must not change it."""
    folder = tmp_path_factory.mktemp("data") / "synthetic"
    make_dataset(folder, SyntheticSpec(train_images=12, val_images=6, size=128, classes=3, seed=1))
    return folder


@pytest.fixture
def tiny_exp(tmp_path: Path, synthetic_dir: Path) -> Path:
    """An experiment file that trains in seconds; its output goes to `tmp_path / "out" / "tiny"`."""
    path = tmp_path / "tiny.py"
    text = TINY_EXP.format(data_dir=str(synthetic_dir), output_dir=str(tmp_path / "out"))
    path.write_text(text)
    return path
