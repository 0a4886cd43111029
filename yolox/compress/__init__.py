"""Compression: masks, merging, and the reports that say what they did to a model."""

import yolox  # noqa: F401 - sets up OpenMP before any module here imports torch
