"""Where the reference data lies; tests that need it skip with a reason where it is absent."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def samples_dir() -> Path:
    """Real images and weights (YOLOX_SAMPLES, or shared/samples beside the checkout)."""
    path = Path(os.environ.get("YOLOX_SAMPLES", SHARED / "samples"))
    if not path.is_dir():
        pytest.skip(f"sample data not found at {path} (set YOLOX_SAMPLES)")
    return path


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Reference outputs of official YOLOX (YOLOX_GOLDEN, or shared/golden beside the checkout)."""
    path = Path(os.environ.get("YOLOX_GOLDEN", SHARED / "golden"))
    if not path.is_dir():
        pytest.skip(f"reference outputs not found at {path} (set YOLOX_GOLDEN)")
    if str(path) not in sys.path:
        sys.path.insert(0, str(path))
    return path
