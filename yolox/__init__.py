"""Train object detectors, compress them, and measure what came of it."""

__version__ = "0.1.0"
