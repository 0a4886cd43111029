"""Train object detectors, compress them, and measure what came of it.

`yolox.load(path)` opens a model: see `yolox.predictor.load`.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["load"]
__version__ = "0.1.0"

# OpenMP's waiting threads spin long by default. Where anything else uses the CPU, loader
# processes included, that makes a training step many times slower; this many spins cost nothing on
# an idle machine and little on a busy one (measured in benchmarks/README.md). GNU OpenMP reads the
# variable once, when torch is imported, so it is set here.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if TYPE_CHECKING:
    from yolox.predictor import load
else:

    def __getattr__(name: str) -> Any:
        """`load` is imported at its first use: torch and OpenCV take their time."""
        if name != "load":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return import_module("yolox.predictor").load
