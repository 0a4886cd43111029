"""Everything that lives through a training run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from yolox.config import AugmentSpec, SizeSpec, TrainSpec
from yolox.data.dataset import DetectionDataset
from yolox.engine.ema import ModelEMA
from yolox.engine.provenance import File
from yolox.errors import UsageError
from yolox.eval.predict import PredictOptions
from yolox.families import Criterion, Detector, DetectorSpec
from yolox.losses.distillation import Distillation
from yolox.models.fake_int8 import FakeInt8

PRECISIONS = ("fp32", "fp16", "bf16")


class Experiment(Protocol):
    """What the engine asks of an experiment (`yolox.exp.Exp` has it)."""

    exp_name: str
    output_dir: str
    data_num_workers: int
    data_timeout: float

    def detector_spec(self) -> DetectorSpec: ...
    def train_spec(self) -> TrainSpec: ...
    def augment_spec(self) -> AugmentSpec: ...
    def size_spec(self) -> SizeSpec: ...
    def predict_options(self) -> PredictOptions: ...
    def get_criterion(self) -> Criterion: ...
    def get_dataset(self) -> DetectionDataset: ...
    def get_eval_dataset(self) -> DetectionDataset: ...
    def get_select_dataset(self) -> DetectionDataset | None: ...
    def options(self) -> dict[str, Any]: ...
    def origin(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class RunOptions:
    """How a training run is started. batch_size is that of all processes together.

    ckpt: where to start from (a fine-tune), or with `resume` what to continue. start_epoch counts
    from 1. Raises UsageError for values that cannot be.
    """

    batch_size: int = 64
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: str = "fp32"
    resume: bool = False
    ckpt: str | None = None
    start_epoch: int | None = None
    cache: str | None = None
    logger: str = "tensorboard"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision {self.precision!r} is none of {', '.join(PRECISIONS)}")
        if self.batch_size < 1:
            raise UsageError(f"batch size {self.batch_size} is not positive")
        if self.start_epoch is not None and (not self.resume or self.start_epoch < 1):
            raise UsageError("--start_epoch counts from 1 and needs --resume")

    @property
    def continues_folder(self) -> bool:
        """Whether the run goes on from the latest checkpoint in its own output folder."""
        return self.resume and self.ckpt is None


@dataclass(frozen=True)
class Unchecked:
    """A loss on its device of which nobody knows yet whether it is finite.

    step: from 0. images: indices of the batch's images in the data set. loss: a scalar.
    """

    step: int
    images: tuple[int, ...]
    loss: Tensor


@dataclass
class Run:
    """The state of a run. `step` counts optimiser steps from 0; `model` holds the raw weights.

    select_dataset: images of which the best epoch is chosen, where they are not those of
        `eval_dataset`. file_hashes: of the annotation files, by path.
    lr_scale, taken_back: what the guard (`yolox.engine.guard`) has made of the learning rate, and
        how often. skipped_steps: in a row, for what overflowed in fp16. loss_scale: the scaler's,
        where it was read. unchecked: losses that `yolox.engine.finite` has not looked at.
    saved_step: when this process saved last. latest_is_ours: `latest_ckpt.pth` is whole and of
        this run. run_id: the same after every --resume. job: the same in every try of a torchrun
        job. awaits_evaluation: the evaluation after the last step is not done.
    """

    exp: Experiment
    options: RunOptions
    spec: TrainSpec
    sizes: SizeSpec
    folder: Path
    dataset: DetectionDataset
    eval_dataset: DetectionDataset
    select_dataset: DetectionDataset | None
    model: Detector
    parallel: nn.Module
    forward: Callable[[Tensor], Any]  # `parallel`, or what a compiler makes of it
    criterion: Criterion
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    ema: ModelEMA | None
    masks: dict[str, Tensor]
    channels: dict[str, dict[str, list[int]]]  # of a pruned model, as its checkpoint states them
    steps_per_epoch: int
    file_hashes: dict[str, str]
    fingerprints: dict[str, str]  # of the data sets, by role
    distillation: Distillation | None = None
    rounding: FakeInt8 | None = None  # of what the model computes, in training steps
    parent: File | None = None  # path and hash of the checkpoint it began with
    step: int = 0
    best_ap: float = -1.0  # nothing evaluated yet
    curr_ap: float = 0.0
    evaluations_without_gain: int = 0
    skipped_steps: int = 0
    loss_scale: float | None = None
    unchecked: list[Unchecked] = field(default_factory=list)
    lr_scale: float = 1.0
    taken_back: int = 0
    saved_step: int | None = None
    latest_is_ours: bool = False
    awaits_evaluation: bool = False
    job: str | None = None
    run_id: str = field(default_factory=lambda: uuid4().hex)

    @property
    def choice_dataset(self) -> DetectionDataset:
        """The images that choose the best epoch."""
        return self.select_dataset if self.select_dataset is not None else self.eval_dataset

    @property
    def eval_model(self) -> Detector:
        """What is evaluated and shipped: the average where there is one."""
        return self.ema.model if self.ema is not None else self.model

    @property
    def total_steps(self) -> int:
        """Steps of all epochs, those already made among them."""
        return self.spec.max_epoch * self.steps_per_epoch

    @property
    def is_done(self) -> bool:
        """Whether the last step was made, or no gain came of the last `patience` evaluations."""
        spent = self.spec.patience and self.evaluations_without_gain >= self.spec.patience
        return bool(spent) or self.step >= self.total_steps

    @property
    def is_plain(self) -> bool:
        """Whether this step is one of the last epochs, without mosaic and mixup."""
        return self.epoch >= self.spec.first_plain_epoch

    @property
    def epoch(self) -> int:
        """The epoch (from 0) that `step` belongs to."""
        return self.step // self.steps_per_epoch
