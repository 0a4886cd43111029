"""Detector families: each in a folder of its own, behind one seam (`base.py`)."""

from yolox.families.base import Criterion, Detector, DetectorSpec
from yolox.families.build import build, skeleton
from yolox.families.table import FAMILIES, family_of, spec_from_dict, spec_to_dict

__all__ = [
    "FAMILIES",
    "Criterion",
    "Detector",
    "DetectorSpec",
    "build",
    "family_of",
    "skeleton",
    "spec_from_dict",
    "spec_to_dict",
]
