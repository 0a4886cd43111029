"""Runtimes behind one interface: images in, predictions out."""

from yolox.backends.base import PRECISIONS, Backend, ModelInfo, missing_packages
from yolox.backends.pytorch import TorchBackend

__all__ = ["PRECISIONS", "Backend", "ModelInfo", "TorchBackend", "missing_packages"]
