"""What is measured: models, backends, precisions and batch sizes, one row for each of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolox.backends.base import PRECISIONS, ModelInfo, require_extra
from yolox.backends.open_vino import read_info
from yolox.config import nearest
from yolox.defaults import BACKENDS
from yolox.errors import ModelError, UsageError
from yolox.exp import BaseExp, exp_of_checkpoint, get_exp
from yolox.export.open import is_exported, require_classes
from yolox.families import DetectorSpec
from yolox.models.complexity import Complexity

# What can be combined; int8 of a checkpoint is quantised on the way, every layer of it.
ABLE = {
    "torch": ("fp32", "bf16", "fp16"),
    "compile": ("fp32", "bf16", "fp16"),
    "onnxruntime": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "bf16", "fp16", "int8"),
}
DEFAULT_SIZE = 640  # of exported files that take any size, where none is named
TURN_MS = 200.0


@dataclass(frozen=True)
class BenchmarkSpec:
    """What to measure of each model. Raises UsageError for unknown names and impossible numbers.

    backends: None takes each file's own (torch for checkpoints). rounds: at most; they end early
        once those of one batch and size took as many `seconds`. turn_ms: a turn of a quick model
        holds as many runs as fit into this.
    """

    backends: Sequence[str] | None = None
    precisions: Sequence[str] = ("fp32",)
    batches: Sequence[int] = (1,)
    threads: int = 1
    rounds: int = 20
    seconds: float = math.inf
    turn_ms: float = TURN_MS

    def __post_init__(self) -> None:
        for kind, given, known in (
            ("backend", self.backends or (), BACKENDS),
            ("precision", self.precisions, PRECISIONS),
        ):
            for name in given:
                if name not in known:
                    hint = nearest(name, known)
                    raise UsageError(f"{kind} {name!r} is none of {', '.join(known)}{hint}")
        for key, values in (
            ("batch size", self.batches),
            ("threads", [self.threads]),
            ("rounds", [self.rounds]),
        ):
            for value in values:
                if value < 1:
                    raise UsageError(f"{key} {value} is not positive")

    def pairs(self, able: Sequence[str] = ("torch",)) -> list[tuple[str, str]]:
        """Backends with the precisions that each can compute in. able: a file's own come first."""
        backends = self.backends or able[:1]
        return [(b, p) for b in backends for p in self.precisions if p in ABLE[b]]


@dataclass(frozen=True, eq=False)
class Model:
    """A model to measure.

    path: a checkpoint or an exported file; None for an experiment with random weights (speed only).
    own: whether an exported file is ours, so that its predictions can be evaluated.
    exp: where the architecture and the data come from; None for exported files without one.
    info: what an exported file of somebody else's is taken for.
    """

    name: str
    path: Path | None
    exp: BaseExp | None
    size_hw: tuple[int, int]
    info: ModelInfo | None = None
    own: bool = True

    @property
    def spec(self) -> DetectorSpec | None:
        """The architecture, where an experiment names it."""
        return self.exp.detector_spec() if self.exp is not None else None


@dataclass(frozen=True, eq=False)
class Case:
    """One row before it is measured. file: what a worker opens, made from `model` if need be."""

    model: Model
    file: Path
    backend: str
    precision: str
    batch: int
    size: Complexity
    file_bytes: int

    @property
    def title(self) -> str:
        """For progress and errors."""
        height, width = self.model.size_hw
        what = f"{self.model.name}, {self.backend} {self.precision}"
        return f"{what}, batch {self.batch}, {height} x {width}"


def find_model(text: str, exp: BaseExp | None, size: int | None, opts: Sequence[str] = ()) -> Model:
    """A model by its file, or by the file or name of an experiment.

    exp: the experiment named on the command line, for files that do not name theirs. size: square,
    in pixels; None takes the experiment's. opts: KEY VALUE pairs for experiments found here.
    Raises UsageError, ModelError.
    """
    path = Path(text)
    square = (size, size) if size else None
    if is_exported(path):
        return _exported(path, exp, square)
    if path.suffix == ".py" or not (path.is_file() or path.suffix):
        found = get_exp(text) if path.suffix == ".py" else get_exp(None, text)
        found = _checked(found, square, opts)
        return Model(found.exp_name, None, found, found.test_size)
    found = _checked(exp or exp_of_checkpoint(path), square, () if exp else opts)
    return Model(path.stem, path, found, found.test_size)


def _checked(exp: BaseExp, square: tuple[int, int] | None, opts: Sequence[str]) -> BaseExp:
    exp.merge(list(opts))
    if square is not None:
        exp.test_size = square
    exp.validate()
    return exp


def _exported(path: Path, exp: BaseExp | None, square: tuple[int, int] | None) -> Model:
    """An exported file of ours, or of anybody's that takes one image tensor."""
    if not path.is_file():
        raise ModelError(f"model {path} does not exist")
    info, own = (read_info(path), True) if path.suffix == ".xml" else _stated(path)
    fixed = info.size_hw
    wanted = square or (exp.test_size if exp is not None else None)
    if fixed is not None and square is not None and tuple(fixed) != square:
        raise UsageError(f"{path} has the fixed size {tuple(fixed)}, not {square}")
    size = fixed or wanted or (DEFAULT_SIZE, DEFAULT_SIZE)
    if exp is not None and own:
        require_classes(info, exp.num_classes, path)
    return Model(path.name, path, exp, (size[0], size[1]), info, own)


def _stated(path: Path) -> tuple[ModelInfo, bool]:
    """Our metadata, or for another's file what its input says; whether it is ours.

    Raises ModelError.
    """
    onnx = require_extra("onnx", "onnx")
    try:
        content = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise ModelError(f"model {path} is not an ONNX file: {type(error).__name__}") from error
    metadata = {item.key: item.value for item in content.metadata_props}
    if any(key.startswith("yolox.") for key in metadata):
        return ModelInfo.from_metadata(metadata, path), True
    inputs = content.graph.input
    dims = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim] if inputs else []
    if len(inputs) != 1 or len(dims) != 4 or dims[1] not in (0, 3):
        raise ModelError(
            f"model {path} is not a detector: its input is {dims}, not one tensor [B, 3, H, W]"
        )
    size = (dims[2], dims[3]) if dims[2] and dims[3] else None
    return ModelInfo(1, 1, size_hw=size, batch=dims[0] or None), False
