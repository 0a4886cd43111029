"""What is measured: models, backends, precisions and batch sizes, one row for each of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolox.backends.base import BACKENDS, PRECISIONS, ModelInfo, require_extra
from yolox.config import DetectorSpec, nearest
from yolox.errors import ModelError, UsageError
from yolox.exp import Exp, exp_of_checkpoint, get_exp
from yolox.export.open import FILE_BACKENDS, is_exported
from yolox.models.complexity import Complexity

# What can be combined; int8 of a checkpoint is quantised on the way, every layer of it.
ABLE = {
    "torch": ("fp32", "bf16", "fp16"),
    "compile": ("fp32", "bf16", "fp16"),
    "onnxruntime": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "bf16", "fp16", "int8"),
}
DEFAULT_SIZE = 640  # of exported files that take any size, where none is named


@dataclass(frozen=True)
class Plan:
    """What to measure of each model. Raises UsageError for unknown names and impossible numbers."""

    backends: Sequence[str] = ("torch",)
    precisions: Sequence[str] = ("fp32",)
    batches: Sequence[int] = (1,)
    threads: int = 1
    rounds: int = 20

    def __post_init__(self) -> None:
        for kind, given, known in (
            ("backend", self.backends, BACKENDS),
            ("precision", self.precisions, PRECISIONS),
        ):
            for name in given:
                if name not in known:
                    hint = nearest(name, known)
                    raise UsageError(f"{kind} {name!r} is none of {', '.join(known)}{hint}")
        for key, values in (
            ("batch size", self.batches), ("threads", [self.threads]), ("rounds", [self.rounds]),
        ):  # fmt: skip
            for value in values:
                if value < 1:
                    raise UsageError(f"{key} {value} is not positive")

    def pairs(self) -> list[tuple[str, str]]:
        """Backends with the precisions that each can compute in."""
        return [(b, p) for b in self.backends for p in self.precisions if p in ABLE[b]]


@dataclass(frozen=True, eq=False)
class Model:
    """A model to measure.

    path: a checkpoint or an exported file; None for an experiment with random weights (speed only).
    exp: where the architecture and the data come from; None for exported files without one.
    info: what an exported file of somebody else's is taken for.
    """

    name: str
    path: Path | None
    exp: Exp | None
    size_hw: tuple[int, int]
    info: ModelInfo | None = None

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


def find_model(text: str, exp: Exp | None, size: int | None) -> Model:
    """A model by its file, or by the file or name of an experiment.

    exp: the experiment named on the command line, for files that do not name theirs. size: square,
    in pixels; None takes the experiment's. Raises UsageError, ModelError.
    """
    path = Path(text)
    square = (size, size) if size else None
    if is_exported(path):
        return _exported(path, exp, square)
    if path.suffix == ".py" or not (path.is_file() or path.suffix):
        found = get_exp(text) if path.suffix == ".py" else get_exp(None, text)
        return Model(found.exp_name, None, _checked(found, square), square or found.test_size)
    found = exp or exp_of_checkpoint(path)
    return Model(path.stem, path, _checked(found, square), square or found.test_size)


def runs_on(model: Model, backend: str) -> bool:
    """Whether a backend reads the model's file (a checkpoint becomes what is needed)."""
    if model.path is None or not is_exported(model.path):
        return True
    return backend in FILE_BACKENDS[model.path.suffix]


def _checked(exp: Exp, square: tuple[int, int] | None) -> Exp:
    if square is not None:
        exp.test_size = square
    exp.validate()
    return exp


def _exported(path: Path, exp: Exp | None, square: tuple[int, int] | None) -> Model:
    """An exported file of ours, or of anybody's that takes one image tensor."""
    if not path.is_file():
        raise ModelError(f"model {path} does not exist")
    info = None
    fixed = None
    if path.suffix == ".onnx":
        info = _stated(path)
        fixed = info.size_hw
    wanted = square or (exp.test_size if exp is not None else None)
    if fixed is not None and square is not None and tuple(fixed) != square:
        raise UsageError(f"{path} has the fixed size {tuple(fixed)}, not {square}")
    size = fixed or wanted or (DEFAULT_SIZE, DEFAULT_SIZE)
    return Model(path.name, path, exp, (size[0], size[1]), info)


def _stated(path: Path) -> ModelInfo:
    """Our metadata, or for another's file what its input says. Raises ModelError."""
    onnx = require_extra("onnx", "onnx")
    try:
        content = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise ModelError(f"model {path} is not an ONNX file: {type(error).__name__}") from error
    metadata = {item.key: item.value for item in content.metadata_props}
    if any(key.startswith("yolox.") for key in metadata):
        return ModelInfo.from_metadata(metadata, path)
    inputs = content.graph.input
    dims = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim] if inputs else []
    if len(inputs) != 1 or len(dims) != 4 or dims[1] not in (0, 3):
        raise ModelError(
            f"model {path} is not a detector: its input is {dims}, not one tensor [B, 3, H, W]"
        )
    size = (dims[2], dims[3]) if dims[2] and dims[3] else None
    return ModelInfo(1, (1,), size_hw=size, batch=dims[0] or None)
