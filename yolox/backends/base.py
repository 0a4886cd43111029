"""What every backend is, and what a model file says about itself.

A backend takes images [B, 3, H, W] (BGR, 0-255, uint8 or float, on the CPU) and returns when its
predictions are there. Which runtime computed them, and in which precision, is its own business.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from yolox.config import MOST, from_dict
from yolox.data.augment import PAD_VALUE
from yolox.errors import ModelError, UsageError
from yolox.families import FAMILIES
from yolox.values import shown

PRECISIONS = ("fp32", "bf16", "fp16", "int8")
PACKAGES = {  # optional ones, by the backend that runs a checkpoint with them
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}
OUTPUTS = ("decoded", "raw", "detections")
RETIRED = ("spec_hash",)  # metadata of earlier versions

# How images must be prepared, as every exported file states it.
PREPROCESSING = {
    "layout": "NCHW",
    "channels": "BGR",
    "range": [0, 255],
    "resize": "bilinear, aspect kept, top left",
    "padding": PAD_VALUE,
}


@dataclass(frozen=True)
class ModelInfo:
    """What a runtime must know of a model beside its weights.

    output: 'decoded' [B, A, 5 + C] (cx, cy, w, h in pixels, objectness, class probabilities), 'raw'
        (the same with offsets in units of the stride, sizes as logarithms, as YOLOX exports), or
        'detections' [B, K, 6] (x1, y1, x2, y2, score, class; class -1 after the last one).
    size_hw, batch: None where the model takes any.
    nms: the thresholds that are part of a 'detections' model.
    divisor: height and width of an input must be multiples of this.
    family, strides: what raw predictions are decoded by.
    source_sha256: of the checkpoint that a file was exported from.
    """

    num_classes: int
    divisor: int
    class_names: tuple[str, ...] | None = None
    category_ids: tuple[int, ...] | None = None
    output: str = "decoded"
    precision: str = "fp32"
    size_hw: tuple[int, int] | None = None
    batch: int | None = None
    nms: Mapping[str, Any] = field(default_factory=dict)
    family: str = ""
    strides: tuple[int, ...] = ()
    source_sha256: str = ""

    def __post_init__(self) -> None:
        if self.output not in OUTPUTS:
            raise ValueError(f"output {self.output!r} is none of {', '.join(OUTPUTS)}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision {self.precision!r} is none of {', '.join(PRECISIONS)}")
        sizes = (
            self.num_classes,
            self.divisor,
            *self.strides,
            *(self.size_hw or ()),
            self.batch or 1,
        )
        if not all(1 <= size <= MOST for size in sizes):
            raise ValueError(f"classes, divisor, strides, size or batch are impossible: {sizes}")
        known = FAMILIES.get(self.family)
        if self.output == "raw" and (known is None or not known.has_flat or not self.strides):
            raise ValueError(f"raw predictions of family {shown(self.family)} cannot be decoded")
        for key, values in (("class_names", self.class_names), ("category_ids", self.category_ids)):
            if values is not None and len(values) != self.num_classes:
                raise ValueError(f"{len(values)} {key}, {self.num_classes} classes")

    def to_metadata(self) -> dict[str, str]:
        """Text values by key, as ONNX and OpenVINO files keep them (each value is JSON)."""
        content = {**asdict(self), "preprocessing": PREPROCESSING}
        return {f"yolox.{key}": json.dumps(value) for key, value in content.items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path: object) -> "ModelInfo":
        """Read it back. Raises ModelError naming the file where it is absent or damaged."""
        found = {
            key.removeprefix("yolox."): value
            for key, value in metadata.items()
            if key.startswith("yolox.") and key != "yolox.preprocessing"
        }
        if not found:
            raise ModelError(
                f"model {path} is not a detector that this toolkit exported: it has no metadata"
            )
        try:
            values = {key: json.loads(value) for key, value in found.items() if key not in RETIRED}
            if "divisor" not in values:  # as files of earlier versions, all of YOLOX, have it
                values |= {"divisor": max(values.get("strides") or [0]), "family": "yolox"}
            info: ModelInfo = from_dict(cls, values, "yolox")
        except (UsageError, ValueError, RecursionError) as error:
            raise ModelError(f"model {path}: metadata is damaged: {error}") from error
        return info


class Backend(ABC):
    """A model in a runtime. `name` and `precision` say what computes it."""

    name: str
    precision: str
    info: ModelInfo

    @abstractmethod
    def __call__(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> predictions of the kind `info.output`, computed when this returns."""

    @property
    def device(self) -> str:
        """Where it computes, in words."""
        return "cpu"

    @property
    @abstractmethod
    def framework(self) -> str:
        """Name and version of the runtime."""


class FileBackend(Backend):
    """An exported file in its runtime: sizes, batches and raw predictions are dealt with here."""

    def __call__(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> predictions, decoded where the file's are raw.

        Raises ModelError where the runtime stops, or the file gives something else.
        """
        check_images(images, self.info)
        try:
            output = in_batches(self._run, images.float(), self.info.batch)
        except Exception as error:  # runtimes raise classes of their own
            raise ModelError(f"{self.name} cannot run this model: {first_line(error)}") from error
        values = 6 if self.info.output == "detections" else 5 + self.info.num_classes
        if output.dim() != 3 or len(output) != len(images) or output.shape[2] != values:
            raise ModelError(
                f"the model gives {tuple(output.shape)}, not [{len(images)}, any, {values}]: "
                "its file is damaged, or its metadata are another model's"
            )
        if self.info.output == "raw":
            size_hw = images.shape[-2], images.shape[-1]
            output = FAMILIES[self.info.family].decode_flat(output, size_hw, self.info.strides)
        return output

    @abstractmethod
    def _run(self, images: Tensor) -> Tensor:
        """What the file gives for one batch of float images."""


def first_line(error: Exception) -> str:
    """The beginning of a runtime's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{lines[0] if lines else type(error).__name__:.300}"


def require_extra(module: str, backend: str) -> Any:
    """Import an optional package. Raises UsageError naming the extra that installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{backend} needs the package {module.split('.')[0]}, which is not installed "
            f"({error}): pip install -e '.[{backend}]'"
        ) from error


def missing_packages(backend: str) -> list[str]:
    """The optional packages that a backend needs to run a checkpoint and that are not installed."""
    return [name for name in PACKAGES.get(backend, ()) if find_spec(name) is None]


def check_images(images: Tensor, info: ModelInfo) -> None:
    """Raises UsageError where a model cannot take images of this size."""
    check_size((images.shape[-2], images.shape[-1]), info)


def check_size(size_hw: tuple[int, int], info: ModelInfo) -> None:
    """Raises UsageError where a model cannot take images of this height and width."""
    height, width = size_hw
    if info.size_hw is not None and (height, width) != tuple(info.size_hw):
        raise UsageError(
            f"size {height} x {width} is not the model's fixed size "
            f"{info.size_hw[0]} x {info.size_hw[1]}"
        )
    if height % info.divisor or width % info.divisor:
        raise UsageError(
            f"size {height} x {width} is not a multiple of {info.divisor}, as the model needs"
        )


def in_batches(call: Callable[[Tensor], Tensor], images: Tensor, batch: int | None) -> Tensor:
    """Run a model of fixed batch size on any number of images; the last batch is filled up."""
    if batch is None or len(images) == batch:
        return call(images)
    parts = []
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        filled = torch.cat([part, part[-1:].expand(batch - len(part), -1, -1, -1)])
        parts.append(call(filled)[: len(part)])
    return torch.cat(parts)
