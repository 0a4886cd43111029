"""Train object detectors, compress them, and measure what came of it."""

import os

__version__ = "0.1.0"

# OpenMP's idle threads spin by default. On a CPU that anything else uses too, loader processes
# included, that made a training step 10 to 30 times slower; waiting passively costs next to nothing
# (benchmarks/README.md). OpenMP reads this once, when torch is imported, so it is set here.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
