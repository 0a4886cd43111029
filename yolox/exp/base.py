"""The experiment: a bag of attributes with YOLOX's names, and the objects made from it.

An experiment file derives a class `Exp` from `yolox.exp.Exp` (a YOLOX), or from `BaseExp` (a
detector of any family), and sets attributes in `__init__`; trailing `KEY VALUE` pairs set them too.
Nothing is checked until the specs are made, which is before any work starts.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import numpy as np

from yolox.config import AugmentSpec, EvalSpec, SizeSpec, TrainSpec
from yolox.data.dataset import DetectionDataset
from yolox.data.loader import DATA_TIMEOUT
from yolox.data.split import set_aside
from yolox.engine.parts import is_plain
from yolox.errors import UsageError
from yolox.eval.predict import PredictOptions
from yolox.exp.options import apply_options, option_types, options_of
from yolox.families import Criterion, Detector, DetectorSpec, build
from yolox.families.build import require_few_parameters
from yolox.limits import over_limit
from yolox.values import check_value

Made = TypeVar("Made")


EVAL_NAMES = {"conf": "test_conf", "nms": "nmsthre"}  # YOLOX's names for fields of `EvalSpec`


@options_of(DetectorSpec, AugmentSpec, TrainSpec)
@options_of(EvalSpec, EVAL_NAMES)
class BaseExp:
    """What experiments of all detector families share. A range is (low, high).

    Its attributes are the fields of the specs above, with their defaults, and those below; sizes
    are (height, width). A family derives from it, adds the fields of its own specs by `options_of`,
    and overrides `detector_spec` and `get_criterion`, nothing else.
    """

    if TYPE_CHECKING:  # the fields of specs

        def __getattr__(self, key: str) -> Any: ...
        def __setattr__(self, key: str, value: Any) -> None: ...

    _asked: frozenset[str] = frozenset()

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
    test_size: tuple[int, int] = (640, 640)

    # bookkeeping
    exp_name: str = "default"
    output_dir: str = "YOLOX_outputs"

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
        self._asked = self._asked.union(pairs[::2])

    @property
    def asked(self) -> frozenset[str]:
        """The options that KEY VALUE pairs have set."""
        return self._asked

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
        if type(self).get_model is not BaseExp.get_model:
            raise UsageError(
                f"experiment {self.exp_name}: get_model is overridden, which no command asks: a "
                "network of your own is a family: derive its spec, its detector and its criterion "
                "from those of yolox.families, and name the spec in detector_spec "
                "(CONTRIBUTING.md shows how)"
            )
        for make in (
            self.detector_spec,
            self.augment_spec,
            self.size_spec,
            self.train_spec,
            self.eval_spec,
        ):
            make()
        require_few_parameters(self.detector_spec())
        self.get_criterion()

    def options(self) -> dict[str, Any]:
        """All attributes with plain values, JSON-able: what a checkpoint keeps."""
        values = {key: getattr(self, key) for key in option_types(self) if hasattr(self, key)}
        return {key: _as_json(value) for key, value in values.items() if is_plain(value)}

    def own_options(self) -> dict[str, Any]:
        """Those of the options that experiments of other families have not."""
        shared = get_type_hints(BaseExp)
        return {key: value for key, value in self.options().items() if key not in shared}

    # specs

    def detector_spec(self) -> DetectorSpec:
        """How to build the dense architecture."""
        raise NotImplementedError

    def get_criterion(self) -> Criterion:
        """A fresh criterion: `criterion(model(images), targets)` gives the loss terms."""
        raise NotImplementedError

    def augment_spec(self) -> AugmentSpec:
        """Augmentation during training."""
        return self.make(AugmentSpec)

    def train_spec(self) -> TrainSpec:
        """Optimiser, schedule and bookkeeping."""
        return self.make(TrainSpec)

    def eval_spec(self) -> EvalSpec:
        """How predictions become detections when evaluating."""
        return self.make(EvalSpec, EVAL_NAMES)

    def predict_options(self) -> PredictOptions:
        """How a model of the experiment runs on a data set."""
        return PredictOptions(self.eval_spec(), self.data_num_workers, timeout=self.data_timeout)

    def size_spec(self) -> SizeSpec:
        """Input sizes; multi-scale heights in multiples of the detector's divisor."""
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

    def data_root(self) -> Path:
        """`data_dir`, or COCO below YOLOX_DATADIR, or below `datasets`."""
        if self.data_dir is not None:
            return Path(self.data_dir)
        return Path(os.environ.get("YOLOX_DATADIR", "datasets")) / "COCO"

    def get_dataset(self) -> DetectionDataset:
        """The training images, without those that `select_share` sets aside.

        Raises DataError; UsageError where num_classes does not fit.
        """
        whole = self._dataset(self.train_ann, self.train_name)
        return set_aside(whole, self.select_share, self.seed)[0] if self.select_share else whole

    def get_eval_dataset(self) -> DetectionDataset:
        """The validation images. Raises like `get_dataset`."""
        return self._dataset(self.val_ann, self.val_name)

    def get_select_dataset(self) -> DetectionDataset | None:
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

    def _dataset(self, json_file: str, name: str) -> DetectionDataset:
        dataset = DetectionDataset(
            self.data_root(), json_file, name, allow_outside=self.allow_outside
        )
        if len(dataset.class_names) != self.num_classes:
            raise UsageError(
                f"num_classes {self.num_classes} does not fit the {len(dataset.class_names)} "
                f"categories of {dataset.json_path}"
            )
        return dataset

    def make(self, kind: type[Made], names: Mapping[str, str] | None = None) -> Made:
        """A spec from the attributes of its fields' names, or of other `names` by field.

        Raises UsageError naming the experiment, the key and the value.
        """
        values = {}
        for field in fields(kind):  # type: ignore[arg-type]
            value = getattr(self, (names or {}).get(field.name, field.name))
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
