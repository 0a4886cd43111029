"""Frozen, validated specifications: what is built and run, as plain data.

A spec is made once, where a value enters (an experiment, a checkpoint), and is checked there. Here
are those that no detector family owns.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any, get_type_hints

from yolox.errors import UsageError
from yolox.limits import over_limit
from yolox.values import check_value, shown

OPTIMIZERS = ("sgd", "adam", "adamw")
DISTILL_LAYERS = ("neck", "all")
SCHEDULERS = ("yoloxwarmcos", "cos", "multistep")
MOST = 10**9  # of anything that is counted
LARGEST_MIXUP = 10  # times the image: its partner is scaled as a whole


def nearest(name: object, known: Sequence[str]) -> str:
    """`; did you mean 'x'?` for the closest known name, or an empty string.

    name: what a user wrote, which a YAML file may make a number.
    """
    match = get_close_matches(shown(name).strip("'"), list(known), n=1, cutoff=0.6)
    return f"; did you mean {match[0]!r}?" if match else ""


def require(condition: bool, message: str) -> None:
    """Raises ValueError with a message unless a condition holds."""
    if not condition:
        raise ValueError(message)


def one_of(key: str, value: str, known: Sequence[str]) -> None:
    """Raises ValueError naming the key, the value, the known ones and the nearest."""
    require(
        value in known, f"{key} {shown(value)} is none of {', '.join(known)}{nearest(value, known)}"
    )


def in_range(spec: object, low: float, keys: Sequence[str]) -> None:
    """Raises ValueError where a number is below `low`, above `MOST`, or not finite."""
    for key in keys:
        value = getattr(spec, key)
        require(low <= value, f"{key} {value} is {'negative' if low == 0 else 'not positive'}")
        require(value <= MOST, f"{key} {value} is more than {MOST:,}")


@dataclass(frozen=True)
class AugmentSpec:
    """Training augmentation, with YOLOX's names. Angles in degrees, translate as a share."""

    mosaic_prob: float = 1.0
    mixup_prob: float = 1.0
    hsv_prob: float = 1.0
    flip_prob: float = 0.5
    degrees: float = 10.0
    translate: float = 0.1
    shear: float = 2.0
    mosaic_scale: tuple[float, float] = (0.1, 2.0)
    mixup_scale: tuple[float, float] = (0.5, 1.5)
    enable_mixup: bool = True
    max_labels: int = 120

    def __post_init__(self) -> None:
        for key in ("mosaic_prob", "mixup_prob", "hsv_prob", "flip_prob"):
            value = getattr(self, key)
            require(0.0 <= value <= 1.0, f"{key} {value} is not a probability")
        for key, most in (("mosaic_scale", MOST), ("mixup_scale", LARGEST_MIXUP)):
            low, high = getattr(self, key)
            require(
                0 < low <= high <= most,
                f"{key} {(low, high)} is not a range of positive numbers up to {most:g}",
            )
        for key in ("degrees", "translate", "shear"):
            value = getattr(self, key)
            require(abs(value) <= MOST, f"{key} {value} is not a number of a sensible size")
        in_range(self, 1, ("max_labels",))


@dataclass(frozen=True)
class SizeSpec:
    """Input sizes as (height, width) in pixels; each must be a multiple of `divisor`.

    sizes: the heights that multi-scale training draws from, in steps of `divisor`.
    """

    input_size: tuple[int, int]
    test_size: tuple[int, int]
    divisor: int
    multiscale: tuple[int, int]

    def __post_init__(self) -> None:
        for key in ("input_size", "test_size"):
            size = getattr(self, key)
            require(
                len(size) == 2 and all(v > 0 and v % self.divisor == 0 for v in size),
                f"{key} {size} is not a multiple of {self.divisor}, as the model needs",
            )
            reason = over_limit("MAX_IMAGE_PIXELS", size[0] * size[1])
            require(reason is None, f"{key} {size}: pixels: {reason}")
        low, high = self.multiscale
        require(
            0 < low <= high and min(self.size_at(low)) > 0,
            f"multi-scale sizes {low}..{high} x {self.divisor} are not positive",
        )
        height, width = self.size_at(high)
        reason = over_limit("MAX_IMAGE_PIXELS", height * width)
        require(reason is None, f"multi-scale size {high} x {self.divisor}: pixels: {reason}")

    def size_at(self, multiple: int) -> tuple[int, int]:
        """Height and width for a multiple of the divisor, keeping input_size's aspect ratio."""
        height, width = self.input_size
        return self.divisor * multiple, self.divisor * int(multiple * width / height)


@dataclass(frozen=True)
class TrainSpec:
    """Optimisation and bookkeeping of a run. Epochs count from 0 inside, from 1 in logs.

    save_interval, save_minutes: steps and minutes between saves within an epoch (0: none).
    keep_latest: checkpoints kept of the last saves, should the latest be damaged.
    evaluate_first: the start is evaluated, and is the best where nothing later is better.
    partial_ckpt: what fits of another architecture's checkpoint (`-c`) is taken over to start from
        (`yolox.models.transfer`); without it, such a checkpoint is an error.
    pretrained_backbone: where a training from random weights takes its backbone from: a file with a
        classifier's weights, or 'download' (of the library that has the backbone).
    guard: take back what destroys a model (`yolox.engine.guard`): an AP below `guard_share` of
        the best, or a loss that is not finite. The start is evaluated first.
    eval_report: the best checkpoint is evaluated once more at the end, for the pictures in the
        folder `evaluation`.
    balance_filters: a fine-tune begins with filters of one norm (`yolox.models.balance`), which
        leaves the function as it is; for weights whose scales are not those of a training.
    bn_l1: weight of the sum of all |batch-norm scale| in the loss, which drives channels to zero
        before they are pruned (network slimming, Liu 2017).
    fake_int8: the model computes with 8 bits while it is trained (`yolox.models.fake_int8`), for a
        fine-tune before it is exported as INT8.
    compiled: the network's forward and backward pass are compiled by `torch.compile`, which takes
        minutes before the first steps. It knows no comparison of features and no 8 bits.
    teacher: checkpoint whose outputs and features are learnt from; label_weight,
        distill_outputs and distill_features are the weights of the three in the loss.
        distill_layers: 'neck' or 'all', whose features (`yolox.losses.distillation`).
    """

    max_epoch: int = 300
    warmup_epochs: int = 5
    no_aug_epochs: int = 15
    basic_lr_per_img: float = 0.01 / 64
    warmup_lr: float = 0.0
    min_lr_ratio: float = 0.05
    scheduler: str = "yoloxwarmcos"
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    ema: bool = True
    ema_decay: float = 0.9998
    ema_warmup: float = 2000.0
    accumulate: int = 1
    clip_grad_norm: float = 0.0
    eval_interval: int = 10
    print_interval: int = 10
    save_interval: int = 0
    save_minutes: float = 0.0
    save_history_ckpt: bool = True
    keep_latest: int = 2
    evaluate_first: bool = False
    partial_ckpt: bool = False
    pretrained_backbone: str = ""
    eval_report: bool = True
    guard: bool = False
    guard_share: float = 0.5
    patience: int = 0
    freeze_bn: bool = False
    balance_filters: bool = False
    fake_int8: bool = False
    compiled: bool = False
    seed: int = 0
    milestones: tuple[int, ...] = ()
    bn_l1: float = 0.0
    teacher: str | None = None
    label_weight: float = 1.0
    distill_outputs: float = 1.0
    distill_features: float = 0.0
    distill_layers: str = "neck"

    def __post_init__(self) -> None:
        in_range(
            self, 1, ("max_epoch", "accumulate", "eval_interval", "print_interval", "keep_latest")
        )
        in_range(
            self,
            0,
            (
                "warmup_epochs",
                "no_aug_epochs",
                "save_interval",
                "save_minutes",
                "patience",
                "clip_grad_norm",
                "weight_decay",
                "warmup_lr",
                "bn_l1",
                "min_lr_ratio",
                "label_weight",
                "distill_outputs",
                "distill_features",
            ),
        )
        for key in ("basic_lr_per_img", "ema_warmup"):
            value = getattr(self, key)
            require(0 < value < math.inf, f"{key} {value} is not a positive number")
        require(self.seed >= 0, f"seed {self.seed} is negative")
        require(0 <= self.guard_share <= 1, f"guard_share {self.guard_share} is no share")
        require(
            self.label_weight > 0 or self.teacher is not None,
            "label_weight 0 leaves nothing to learn from without a teacher",
        )
        taps = ("distill_features", "fake_int8")  # look into layers while the model computes
        for key in taps if self.compiled else ():
            value = getattr(self, key)
            require(not value, f"compiled true and {key} {value} exclude each other")
        require(0 <= self.momentum < 1, f"momentum {self.momentum} is not between 0 and 1")
        require(0 < self.ema_decay < 1, f"ema_decay {self.ema_decay} is not between 0 and 1")
        one_of("scheduler", self.scheduler, SCHEDULERS)
        one_of("distill_layers", self.distill_layers, DISTILL_LAYERS)
        one_of("optimizer", self.optimizer, OPTIMIZERS)

    @property
    def starts_evaluated(self) -> bool:
        """Whether the start is evaluated, as epoch 0."""
        return self.evaluate_first or self.guard

    @property
    def first_plain_epoch(self) -> int:
        """The first epoch (from 0) without mosaic and mixup and with the L1 loss.

        no_aug_epochs of them are run. Official YOLOX begins one epoch earlier than it was asked to.
        """
        return max(self.max_epoch - self.no_aug_epochs, 0)


@dataclass(frozen=True)
class EvalSpec:
    """How predictions become detections. conf and nms are thresholds on score and IoU."""

    conf: float = 0.01
    nms: float = 0.65
    class_agnostic: bool = False
    multi_class: bool = False
    soft_nms: bool = False
    max_candidates: int = 0
    max_detections: int = 0
    min_class_ratio: float = 0.0
    min_objectness_ratio: float = 0.0

    def __post_init__(self) -> None:
        require(0.0 <= self.conf <= 1.0, f"conf {self.conf} is not between 0 and 1")
        require(0.0 < self.nms <= 1.0, f"nms {self.nms} is not between 0 and 1")
        counts = ("max_candidates", "max_detections")
        in_range(self, 0, (*counts, "min_class_ratio", "min_objectness_ratio"))


def to_dict(spec: Any) -> dict[str, Any]:
    """A spec as JSON-able values (tuples become lists)."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(spec).items()
    }


def from_dict(kind: type[Any], values: Mapping[str, Any], where: str) -> Any:
    """Rebuild a spec, strictly. Raises UsageError naming `where`, the key and the nearest key."""
    known = [field.name for field in fields(kind)]
    hints = get_type_hints(kind)
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"{where}: unknown key {shown(key)}{nearest(key, known)}")
        check_value(f"{where}: {key}", value, hints[key])
    ready = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    try:
        return kind(**ready)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: {error}") from error
