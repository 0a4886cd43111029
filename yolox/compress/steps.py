"""The options of each stage, with their defaults: the sections of a recipe, and sensitivity's."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from yolox.config import one_of
from yolox.defaults import (
    BACKENDS,
    ENCODINGS,
    FEWEST,
    FILE_BACKENDS,
    MASK_CRITERIA,
    NEED_GRADIENTS,
    NEED_IMAGES,
    PRUNE_CRITERIA,
    VALUE_TYPES,
)

SHARE = 0.49  # of the source system
FLOOR = 0.05
PATTERNS = ("none", "2:4")
SIZES = ("params", "macs")  # budgets that are counted, not measured
BUDGETS = (*SIZES, "latency", "latency_ms")
RANKINGS = ("global", "layer", "normalised", "per_cost", "sensitivity")
INT8_FILES = {able[0]: suffix for suffix, able in FILE_BACKENDS.items()}  # by runtime
METRICS = {  # as the outputs name them
    "loss": "distance from the dense model's outputs",
    "ap": "AP lost",
    "error": "reconstruction error, shares of variance",
}
RATIOS = (0.125, 0.25, 0.5, 0.75)


@dataclass(frozen=True)
class MaskStep:
    """share: of the weights left out. exclude: words in the names of weights left alone (None: all
    of the detector's head).

    pattern: 'none', or '2:4' for the two best of every four neighbouring inputs (then the share is
    a half, whatever is asked for). floor: share of every layer that always stays (at most what
    `share` leaves of all). Behind an empty layer all is constant (layer collapse, Tanaka 2020):
    batch norms divide by nothing and a fine-tune goes astray. images: to calibrate with, at most,
    where the criterion needs any. Raises ValueError for values that cannot be.
    """

    share: float = SHARE
    criterion: str = "output"
    exclude: tuple[str, ...] | None = None
    pattern: str = "none"
    floor: float = FLOOR
    images: int = 64

    def __post_init__(self) -> None:
        if not isinstance(self.share, int | float) or not 0.0 <= self.share < 1.0:
            raise ValueError(f"share {self.share!r} is not a number in 0..1")
        if not 0.0 <= self.floor <= 1.0:
            raise ValueError(f"floor {self.floor} is not in 0..1")
        one_of("criterion", self.criterion, MASK_CRITERIA)
        one_of("pattern", self.pattern, PATTERNS)
        if self.images < 1:
            raise ValueError(f"images {self.images} is not positive")

    @property
    def needs_images(self) -> bool:
        """Whether calibration images are needed."""
        return self.criterion in NEED_IMAGES


@dataclass(frozen=True)
class PruneStep:
    """What may be left, and how it is chosen: a budget in time, or one or two in size.

    params, macs: the shares that may be left of the dense model's; where both are given, both hold.
    latency: the share of the dense model's time that may be left, measured on this device with
        `backend` at batch 1. latency_ms: milliseconds, measured likewise.
    criterion: one of `importance/channels.py`. ranking: how scores of different groups compare.
        'global' as they are, 'layer' by their order within the group (the same share of each),
        'normalised' over the group's mean, 'per_cost' over what a unit saves of the budgets,
        'sensitivity' likewise, the geometric mean of the score and what the group's measured curve
        adds for the unit (the curve alone was clearly worse on yolox-nano).
    round_to: kept channels are multiples of it (of a smaller power of two in groups of less than
        four times as many). floor: share of a group that always stays. exclude: words in the names
        of groups left alone. rounds: the budget is reached in so many steps, each adapted and
        scored anew. images: to calibrate with, at most.
    Raises ValueError for values that cannot be.
    """

    params: float | None = None
    macs: float | None = None
    latency: float | None = None
    latency_ms: float | None = None
    backend: str = "torch"
    criterion: str = "output"
    ranking: str = "per_cost"
    round_to: int = 8
    floor: float = 0.1
    exclude: tuple[str, ...] = ()
    rounds: int = 1
    images: int = 64

    def __post_init__(self) -> None:
        given = self.budgets
        if not given:
            raise ValueError(f"prune needs one of {', '.join(BUDGETS)}")
        if len(given) > 1 and self.is_latency:
            raise ValueError(f"one budget where time counts, not {' and '.join(given)}")
        for name, value in given.items():
            if not value > 0 or (name != "latency_ms" and value >= 1):
                raise ValueError(f"{name} {value} is not between 0 and 1")
        one_of("criterion", self.criterion, PRUNE_CRITERIA)
        one_of("ranking", self.ranking, RANKINGS)
        one_of("backend", self.backend, BACKENDS)
        for key in ("round_to", "rounds", "images"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} {getattr(self, key)} is not positive")
        if self.rounds > 1 and self.is_latency:
            raise ValueError("a latency budget is reached in one round")
        if not 0.0 <= self.floor <= 1.0:
            raise ValueError(f"floor {self.floor} is not in 0..1")

    @property
    def budgets(self) -> dict[str, float]:
        """Those that are given, by name."""
        return {key: getattr(self, key) for key in BUDGETS if getattr(self, key) is not None}

    @property
    def needs_images(self) -> bool:
        """Whether calibration images are needed."""
        return self.criterion in NEED_IMAGES or self.rounds > 1 or self.ranking == "sensitivity"

    @property
    def needs_gradients(self) -> bool:
        """Whether labelled training images are needed."""
        return self.criterion in NEED_GRADIENTS

    @property
    def is_latency(self) -> bool:
        """Whether the budget is a time."""
        return not set(self.budgets) <= set(SIZES)


@dataclass(frozen=True)
class AdaptStep:
    """Which parts run, and how.

    images: calibration images at most. ridge: of the mean variance of what a layer reads; it draws
    the solution towards the weights before, more so where samples are few. Raises ValueError for
    values that cannot be.
    """

    fold: bool = True
    least_squares: bool = True
    recalibrate: bool = False
    images: int = 128
    ridge: float = 1e-2

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ValueError(f"images {self.images} is not positive")
        if not 0 < self.ridge < math.inf:
            raise ValueError(f"ridge {self.ridge} is not a positive number")

    @property
    def needs_images(self) -> bool:
        """Whether calibration images are needed."""
        return self.least_squares or self.recalibrate


@dataclass(frozen=True)
class RecoverStep:
    """A fine-tune, and what it learns from.

    images: a folder of pictures without labels, in which the dense model finds what is to be
        learnt (None: only the experiment's training images). labelled: whether the experiment's
        training images are learnt from beside them. conf: the least score of what is found.
    options: of the experiment (max_epoch and so on). `teacher: dense` stands for the checkpoint
        that is compressed. Those that are not here follow from the data, how long it takes
        included (`schedule.automatic_options`).
    Raises ValueError for values that cannot be.
    """

    images: str | None = None
    labelled: bool = True
    conf: float = 0.3
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.conf <= 1:
            raise ValueError(f"conf {self.conf} is not between 0 and 1")

    @property
    def needs_labels(self) -> bool:
        """Whether the experiment's training images are learnt from."""
        return self.images is None or self.labelled


@dataclass(frozen=True)
class Int8Step:
    """An INT8 file of the merged model.

    runtime: what it is for, 'onnxruntime' or 'openvino'. max_drop: AP that it may cost against the
        float model in the same runtime; layers stay float until it holds (None: every layer is
        quantised). images: to calibrate with, at most.
    Raises ValueError for values that cannot be.
    """

    runtime: str = "onnxruntime"
    max_drop: float | None = 0.01
    images: int = 64

    def __post_init__(self) -> None:
        one_of("runtime", self.runtime, list(INT8_FILES))
        if self.max_drop is not None and not 0 <= self.max_drop < 1:
            raise ValueError(f"max_drop {self.max_drop} is not in 0..1")
        if self.images < FEWEST:
            raise ValueError(f"{self.images} images are less than {FEWEST}, too few to calibrate")

    @property
    def needs_images(self) -> bool:
        """Always: ranges are those of images."""
        return True


@dataclass(frozen=True)
class Storage:
    """How a merged checkpoint is stored: 'bitmask' or 'coo', values in 'fp32' or 'fp16'.

    Raises ValueError for anything else.
    """

    encoding: str = "bitmask"
    values: str = "fp32"

    def __post_init__(self) -> None:
        one_of("encoding", self.encoding, ENCODINGS)
        one_of("values", self.values, VALUE_TYPES)


@dataclass(frozen=True)
class SensitivityStep:
    """What is measured: `metric` at each of `ratios`, the shares of a group's units that leave.

    metric: 'loss', the mean distance of predictions over `images` calibration images; 'ap', the
        drop of AP on the validation images; 'error', what the readers cannot reconstruct, without
        running.
    Raises ValueError for values that cannot be.
    """

    metric: str = "loss"
    ratios: tuple[float, ...] = RATIOS
    images: int = 16

    def __post_init__(self) -> None:
        one_of("metric", self.metric, list(METRICS))
        if not self.ratios:
            raise ValueError("ratios: at least one is needed")
        for before, ratio in zip((0.0, *self.ratios), self.ratios, strict=False):
            if not 0.0 < ratio < 1.0:
                raise ValueError(f"ratio {ratio:g} is not between 0 and 1")
            if ratio <= before:
                raise ValueError(f"ratios: {ratio:g} after {before:g} does not ascend")
        if self.images < 1:
            raise ValueError(f"images {self.images} is not positive")
