"""Frozen, validated specifications: what is built and run, as plain data.

A spec is made once, where a value enters (an experiment, a checkpoint), and is checked there.
Everything below takes single values out of it; no spec object enters a model.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any

from yolox.errors import UsageError

ACTIVATIONS = ("silu", "relu", "lrelu", "hswish")
BACKBONES = ("csp", "darknet53")
CSP_SHORTCUTS = ("hidden", "rest")
IOU_LOSSES = ("iou", "giou")
OPTIMIZERS = ("sgd", "adamw")
SCHEDULERS = ("yoloxwarmcos", "cos", "multistep")


def nearest(name: object, known: Sequence[str]) -> str:
    """`; did you mean 'x'?` for the closest known name, or an empty string.

    name: what a user wrote, which a YAML file may make a number.
    """
    match = get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f"; did you mean {match[0]!r}?" if match else ""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def one_of(key: str, value: str, known: Sequence[str]) -> None:
    """Raises ValueError naming the key, the value, the known ones and the nearest."""
    _require(
        value in known, f"{key} {value!r} is none of {', '.join(known)}{nearest(value, known)}"
    )


@dataclass(frozen=True)
class DetectorSpec:
    """A detector of the YOLOX family: P5, P6 and custom networks are values, not classes.

    strides: pixels per cell of each level, fine to coarse; each the double of the one before.
    channels: channels of each level before `width` is applied.
    csp_shortcut: what the shortcut branch of a CSP layer keeps. 'hidden' as in YOLOX (as many
        channels as the main branch), 'rest' as in the YOLOX-M-P6 source (input minus hidden).
    """

    num_classes: int = 80
    depth: float = 1.0
    width: float = 1.0
    strides: tuple[int, ...] = (8, 16, 32)
    channels: tuple[int, ...] = (256, 512, 1024)
    backbone: str = "csp"
    act: str = "silu"
    depthwise: bool = False
    csp_shortcut: str = "hidden"

    def __post_init__(self) -> None:
        _require(self.num_classes >= 1, f"num_classes {self.num_classes} is not positive")
        _require(self.depth > 0, f"depth {self.depth} is not positive")
        _require(self.width > 0, f"width {self.width} is not positive")
        one_of("act", self.act, ACTIVATIONS)
        one_of("backbone", self.backbone, BACKBONES)
        one_of("csp_shortcut", self.csp_shortcut, CSP_SHORTCUTS)
        expected = tuple(8 << level for level in range(len(self.strides)))
        _require(
            self.strides == expected and len(self.strides) in (3, 4),
            f"strides {self.strides} are neither (8, 16, 32) nor (8, 16, 32, 64)",
        )
        _require(
            len(self.channels) == len(self.strides),
            f"channels {self.channels} do not fit strides {self.strides}",
        )
        _require(
            self.backbone == "csp" or len(self.strides) == 3,
            "backbone 'darknet53' has the strides (8, 16, 32) only",
        )

    @property
    def divisor(self) -> int:
        """Input height and width must be multiples of this (the largest stride)."""
        return self.strides[-1]


@dataclass(frozen=True)
class LossSpec:
    """The YOLOX loss. iou_loss: 'iou' (1 - IoU^2) as in YOLOX, or 'giou' (1 - GIoU)."""

    iou_loss: str = "iou"
    iou_weight: float = 5.0

    def __post_init__(self) -> None:
        one_of("iou_loss", self.iou_loss, IOU_LOSSES)
        _require(self.iou_weight > 0, f"iou_weight {self.iou_weight} is not positive")


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
            _require(0.0 <= value <= 1.0, f"{key} {value} is not a probability")
        for key in ("mosaic_scale", "mixup_scale"):
            low, high = getattr(self, key)
            _require(0 < low <= high, f"{key} {(low, high)} is not a range of positive numbers")
        _require(self.max_labels >= 1, f"max_labels {self.max_labels} is not positive")


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
            _require(
                len(size) == 2 and all(v > 0 and v % self.divisor == 0 for v in size),
                f"{key} {size} is not a multiple of {self.divisor}, the largest stride",
            )
        low, high = self.multiscale
        _require(
            0 < low <= high, f"multi-scale sizes {low}..{high} x {self.divisor} are not positive"
        )

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
    guard: take back what destroys a model (`yolox.engine.guard`): an AP below `guard_share` of
        the best, or a loss that is not finite. The start is evaluated first.
    balance_filters: a fine-tune begins with filters of one norm (`yolox.models.balance`), which
        leaves the function as it is; for weights whose scales are not those of a training.
    bn_l1: weight of the sum of all |batch-norm scale| in the loss, which drives channels to zero
        before they are pruned (network slimming, Liu 2017).
    teacher: checkpoint whose answers and neck features are learnt from; label_weight,
        distill_outputs and distill_features are the weights of the three in the loss.
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
    guard: bool = False
    guard_share: float = 0.5
    patience: int = 0
    freeze_bn: bool = False
    balance_filters: bool = False
    seed: int = 0
    milestones: tuple[int, ...] = ()
    bn_l1: float = 0.0
    teacher: str | None = None
    label_weight: float = 1.0
    distill_outputs: float = 1.0
    distill_features: float = 0.0

    def __post_init__(self) -> None:
        _require(self.max_epoch >= 1, f"max_epoch {self.max_epoch} is not positive")
        _require(self.accumulate >= 1, f"accumulate {self.accumulate} is not positive")
        _require(
            self.basic_lr_per_img > 0, f"basic_lr_per_img {self.basic_lr_per_img} is not positive"
        )
        _require(self.eval_interval >= 1, f"eval_interval {self.eval_interval} is not positive")
        _require(self.print_interval >= 1, f"print_interval {self.print_interval} is not positive")
        _require(self.keep_latest >= 1, f"keep_latest {self.keep_latest} is not positive")
        _require(0 <= self.guard_share <= 1, f"guard_share {self.guard_share} is no share")
        for key in (
            "warmup_epochs", "no_aug_epochs", "save_interval", "save_minutes", "patience",
            "clip_grad_norm", "weight_decay", "seed", "warmup_lr", "bn_l1",
            "label_weight", "distill_outputs", "distill_features",
        ):  # fmt: skip
            _require(getattr(self, key) >= 0, f"{key} {getattr(self, key)} is negative")
        _require(
            self.label_weight > 0 or self.teacher is not None,
            "label_weight 0 leaves nothing to learn from without a teacher",
        )
        _require(0 <= self.momentum < 1, f"momentum {self.momentum} is not between 0 and 1")
        _require(self.ema_warmup > 0, f"ema_warmup {self.ema_warmup} is not positive")
        _require(0 < self.ema_decay < 1, f"ema_decay {self.ema_decay} is not between 0 and 1")
        one_of("scheduler", self.scheduler, SCHEDULERS)
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
        _require(0.0 <= self.conf <= 1.0, f"conf {self.conf} is not between 0 and 1")
        _require(0.0 < self.nms <= 1.0, f"nms {self.nms} is not between 0 and 1")
        for key in (
            "max_candidates",
            "max_detections",
            "min_class_ratio",
            "min_objectness_ratio",
        ):
            _require(getattr(self, key) >= 0, f"{key} {getattr(self, key)} is negative")


def to_dict(spec: Any) -> dict[str, Any]:
    """A spec as JSON-able values (tuples become lists)."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(spec).items()
    }


def from_dict(kind: type[Any], values: dict[str, Any], where: str) -> Any:
    """Rebuild a spec, strictly. Raises UsageError naming `where`, the key and the nearest key."""
    known = {field.name: field for field in fields(kind)}
    for key in values:
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}{nearest(key, list(known))}")
    ready = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    try:
        return kind(**ready)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: {error}") from error
