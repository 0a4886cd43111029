"""The experiment: a bag of attributes with YOLOX's names, and the objects made from it.

An experiment file subclasses `Exp` and sets attributes in `__init__`; trailing `KEY VALUE` pairs
set them too. Nothing is checked until the specs are made, which is before any work starts.
"""

import math
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from yolox.config import (
    AugmentSpec,
    EvalSpec,
    SizeSpec,
    TrainSpec,
)
from yolox.data.coco import CocoDataset
from yolox.data.loader import DATA_TIMEOUT
from yolox.data.split import set_aside
from yolox.engine.parts import is_plain
from yolox.errors import UsageError
from yolox.eval.predict import PredictOptions
from yolox.exp.options import apply_options, option_types
from yolox.families import Criterion, Detector, DetectorSpec, build
from yolox.families.build import require_few_parameters
from yolox.families.yolox import LossSpec, YoloxLoss, YoloxSpec
from yolox.limits import over_limit
from yolox.values import check_value

Made = TypeVar("Made")


class Exp:
    """Defaults are those of YOLOX on COCO. A range is (low, high); sizes are (height, width)."""

    # model
    num_classes: int = 80
    depth: float = 1.0
    width: float = 1.0
    act: str = "silu"
    depthwise: bool = False
    backbone: str = "csp"
    strides: tuple[int, ...] = (8, 16, 32)
    channels: tuple[int, ...] = (256, 512, 1024)
    csp_shortcut: str = "hidden"

    # data
    data_dir: str | None = None
    train_ann: str = "instances_train2017.json"
    val_ann: str = "instances_val2017.json"
    train_name: str = "train2017"
    val_name: str = "val2017"
    test_ann: str = "instances_test2017.json"
    test_name: str = "test2017"
    allow_outside: bool = False
    select_ann: str | None = None  # images that choose the best epoch instead of val_ann's
    select_name: str | None = None  # their folder (default: train_name)
    select_share: float = 0.0  # or this share of the training images, which are not trained on
    data_num_workers: int = 4
    data_timeout: float = DATA_TIMEOUT
    input_size: tuple[int, int] = (640, 640)
    multiscale_range: int | tuple[int, int] = 5
    random_size: tuple[int, int] | None = None

    # augmentation
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

    # loss
    iou_loss: str = "iou"
    iou_weight: float = 5.0

    # training
    max_epoch: int = 300
    warmup_epochs: int = 5
    no_aug_epochs: int = 15
    basic_lr_per_img: float = 0.01 / 64.0
    warmup_lr: float = 0.0
    min_lr_ratio: float = 0.05
    scheduler: str = "yoloxwarmcos"
    milestones: tuple[int, ...] = ()
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    ema: bool = True
    ema_decay: float = 0.9998
    ema_warmup: float = 2000.0
    accumulate: int = 1
    clip_grad_norm: float = 0.0
    freeze_bn: bool = False
    balance_filters: bool = False
    patience: int = 0
    seed: int = 0
    bn_l1: float = 0.0
    teacher: str | None = None
    label_weight: float = 1.0
    distill_outputs: float = 1.0
    distill_features: float = 0.0

    # bookkeeping
    exp_name: str = "default"
    output_dir: str = "YOLOX_outputs"
    print_interval: int = 10
    eval_interval: int = 10
    save_interval: int = 0
    save_minutes: float = 0.0
    save_history_ckpt: bool = True
    keep_latest: int = 2
    evaluate_first: bool = False
    guard: bool = False
    guard_share: float = 0.5

    # evaluation
    test_size: tuple[int, int] = (640, 640)
    test_conf: float = 0.01
    nmsthre: float = 0.65
    multi_class: bool = False
    class_agnostic: bool = False

    # where it came from; set by `get_exp`
    _file: str | None = None
    _name: str | None = None

    def origin(self) -> dict[str, Any]:
        """What a checkpoint keeps about its experiment.

        The name of a shipped one, which is found again; the file, which only people read; and the
        options, which serve where there is no name.
        """
        return {"file": self._file, "name": self._name, "options": self.options()}

    def merge(self, pairs: list[str]) -> None:
        """Set attributes from trailing KEY VALUE pairs. Raises UsageError."""
        apply_options(self, pairs)

    def validate(self) -> None:
        """Make every spec once. Raises UsageError naming the experiment, the key and the value."""
        types = option_types(self)
        for key, value in vars(self).items():
            if key in types:
                check_value(f"experiment {self.exp_name}: {key}", value, types[key])
        if self.data_num_workers < 0:
            raise UsageError(f"data_num_workers {self.data_num_workers} is negative")
        if not 0 < self.data_timeout < math.inf:
            raise UsageError(
                f"data_timeout {self.data_timeout} is not a positive number of seconds"
            )
        if not 0 <= self.select_share < 1:
            raise UsageError(f"select_share {self.select_share} is not between 0 and 1")
        if self.select_share and self.select_ann is not None:
            raise UsageError("select_ann and select_share exclude each other")
        reason = over_limit("MAX_WORKERS", self.data_num_workers)
        if reason:
            raise UsageError(f"data_num_workers {reason}")
        for make in (
            self.detector_spec, self.loss_spec, self.augment_spec,
            self.size_spec, self.train_spec, self.eval_spec,
        ):  # fmt: skip
            make()
        require_few_parameters(self.detector_spec())

    def options(self) -> dict[str, Any]:
        """All attributes with plain values, JSON-able: what a checkpoint keeps."""
        values = {key: getattr(self, key) for key in option_types(self) if hasattr(self, key)}
        return {key: _as_json(value) for key, value in values.items() if is_plain(value)}

    # specs

    def detector_spec(self) -> DetectorSpec:
        """How to build the dense architecture."""
        return self._spec(YoloxSpec)

    def loss_spec(self) -> LossSpec:
        """The terms of the loss."""
        return self._spec(LossSpec)

    def augment_spec(self) -> AugmentSpec:
        """Augmentation during training."""
        return self._spec(AugmentSpec)

    def train_spec(self) -> TrainSpec:
        """Optimiser, schedule and bookkeeping."""
        return self._spec(TrainSpec)

    def eval_spec(self) -> EvalSpec:
        """How predictions become detections when evaluating."""
        return self._checked(
            lambda: EvalSpec(self.test_conf, self.nmsthre, self.class_agnostic, self.multi_class)
        )

    def predict_options(self) -> PredictOptions:
        """How a model of the experiment runs on a data set."""
        return PredictOptions(self.eval_spec(), self.data_num_workers, timeout=self.data_timeout)

    def size_spec(self) -> SizeSpec:
        """Input sizes; multi-scale heights in multiples of the largest stride."""
        divisor = self.detector_spec().divisor
        if self.random_size is not None:
            multiples = self.random_size
        else:
            spread = self.multiscale_range
            below, above = (-spread, spread) if isinstance(spread, int) else spread
            base = self.input_size[0] // divisor
            multiples = (max(base + below, 1), max(base + above, 1))
        return self._checked(lambda: SizeSpec(self.input_size, self.test_size, divisor, multiples))

    # objects

    def get_model(self) -> Detector:
        """A fresh detector with random weights."""
        return build(self.detector_spec())

    def get_criterion(self) -> Criterion:
        """A fresh criterion: `criterion(model(images), targets)` gives the loss terms."""
        loss = self.loss_spec()
        return YoloxLoss(self.strides, loss.iou_loss, loss.iou_weight)

    def data_root(self) -> Path:
        """`data_dir`, or COCO below YOLOX_DATADIR, or below `datasets`."""
        if self.data_dir is not None:
            return Path(self.data_dir)
        return Path(os.environ.get("YOLOX_DATADIR", "datasets")) / "COCO"

    def get_dataset(self) -> CocoDataset:
        """The training images, without those that `select_share` sets aside.

        Raises DataError; UsageError where num_classes does not fit.
        """
        whole = self._dataset(self.train_ann, self.train_name)
        return set_aside(whole, self.select_share, self.seed)[0] if self.select_share else whole

    def get_eval_dataset(self) -> CocoDataset:
        """The validation images. Raises like `get_dataset`."""
        return self._dataset(self.val_ann, self.val_name)

    def get_select_dataset(self) -> CocoDataset | None:
        """Images that choose (the best epoch, an early stop) and are not reported on.

        `select_ann`, or a share of the training images that `get_dataset` leaves out; None where
        neither is set. Raises like `get_dataset`.
        """
        if self.select_ann is not None:
            return self._dataset(self.select_ann, self.select_name or self.train_name)
        if not self.select_share:
            return None
        whole = self._dataset(self.train_ann, self.train_name)
        return set_aside(whole, self.select_share, self.seed)[1]

    def _dataset(self, json_file: str, name: str) -> CocoDataset:
        dataset = CocoDataset(self.data_root(), json_file, name, allow_outside=self.allow_outside)
        if len(dataset.class_names) != self.num_classes:
            raise UsageError(
                f"num_classes {self.num_classes} does not fit the {len(dataset.class_names)} "
                f"categories of {dataset.json_path}"
            )
        return dataset

    def _spec(self, kind: type[Made]) -> Made:
        values = {}
        for field in fields(kind):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            values[field.name] = tuple(value) if isinstance(value, list) else value
        return self._checked(lambda: kind(**values))

    def _checked(self, make: Callable[[], Made]) -> Made:
        try:
            return make()
        except (ValueError, TypeError) as error:
            raise UsageError(f"experiment {self.exp_name}: {error}") from error


def _as_json(value: Any) -> Any:
    """A plain value as JSON has it: lists for tuples, Python's numbers for numpy's."""
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
