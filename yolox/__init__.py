"""Train object detectors, compress them, and measure what came of it."""

import os

__version__ = "0.1.0"

# OpenMP's waiting threads spin long by default. Where anything else uses the CPU, loader
# processes included, that makes a training step many times slower; this many spins cost nothing on
# an idle machine and little on a busy one (measured in benchmarks/README.md). GNU OpenMP reads the
# variable once, when torch is imported, so it is set here.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
