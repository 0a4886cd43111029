"""From a spec to a detector. Building is pure: every call gives a fresh module."""

import warnings
from functools import cache

import torch

from yolox.errors import UsageError
from yolox.families.base import Detector, DetectorSpec
from yolox.limits import over_limit


def build(spec: DetectorSpec) -> Detector:
    """A fresh detector with random weights. Raises UsageError as `require_few_parameters`."""
    require_few_parameters(spec)
    return spec.build()


def skeleton(spec: DetectorSpec) -> Detector:
    """The detector without memory for its weights (on torch's meta device).

    Raises UsageError as `require_few_parameters`.
    """
    require_few_parameters(spec)
    with torch.device("meta"):
        return spec.build()


@cache
def require_few_parameters(spec: DetectorSpec) -> None:
    """Raises UsageError where the detector would have more parameters than MAX_PARAMETERS."""
    where = ", ".join(f"{key} {value}" for key, value in vars(spec).items())
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layers without channels, which are refused below
            sizes = [parameter.numel() for parameter in spec.build().parameters()]
    except (ValueError, ArithmeticError, RuntimeError) as error:
        raise UsageError(f"{where}: no detector can be built: {error}".split("\n")[0]) from error
    if not all(sizes):
        raise UsageError(f"{where}: some layers would have no channels")
    reason = over_limit("MAX_PARAMETERS", sum(sizes))
    if reason:
        raise UsageError(f"{where}: parameters: {reason}")
