"""A detector as an ONNX graph, by torch.export: static or dynamic, decoded or raw, with NMS or not.

The file states everything a runtime needs beside the weights (`ModelInfo`).
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from torch import Tensor, nn
from torch.export import Dim

from yolox.backends.base import ModelInfo, require_extra
from yolox.config import EvalSpec
from yolox.defaults import INPUT, OPSET, OUTPUT
from yolox.errors import ExportError, UsageError
from yolox.export.nms_graph import DECODED, append_nms, require_operators
from yolox.files import whole_file
from yolox.models.copies import copied

KNOWN_OPSETS = range(18, 24)
LARGEST_BATCH = 1024
LARGEST_CELLS = 256  # of the coarsest level, per side


@dataclass(frozen=True)
class GraphSpec:
    """What the graph is to be.

    size_hw, batch: as exported; `dynamic_batch` leaves the batch open, `dynamic` the size too.
    decode: boxes in pixels; without it they come raw, as YOLOX exports by default.
    nms: thresholds of a suppression inside the graph (it decodes, too).
    half: weights and arithmetic in fp16; images and output stay fp32.
    Raises ValueError for a batch, opset or names that cannot be, UsageError for a suppression that
    no operator does.
    """

    size_hw: tuple[int, int]
    batch: int = 1
    dynamic: bool = False
    dynamic_batch: bool = False
    decode: bool = True
    nms: EvalSpec | None = None
    half: bool = False
    opset: int = OPSET
    input_name: str = INPUT
    output_name: str = OUTPUT

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= LARGEST_BATCH:
            raise ValueError(f"batch size {self.batch} is not in 1..{LARGEST_BATCH}")
        if self.opset not in KNOWN_OPSETS:
            raise ValueError(
                f"opset {self.opset} is not in {KNOWN_OPSETS.start}..{KNOWN_OPSETS.stop - 1}"
            )
        if self.input_name == self.output_name:
            raise ValueError(f"input and output are both named {self.input_name!r}")
        if self.nms:
            require_operators(self.nms)

    def describe(self, info: ModelInfo) -> ModelInfo:
        """`info` with what this graph makes of the model."""
        kind = "detections" if self.nms else "decoded" if self.decode else "raw"
        return replace(
            info,
            output=kind,
            precision="fp16" if self.half else "fp32",
            size_hw=None if self.dynamic else self.size_hw,
            batch=None if self.dynamic or self.dynamic_batch else self.batch,
            nms=nms_facts(self.nms) if self.nms else {},
        )


def nms_facts(spec: EvalSpec) -> dict[str, Any]:
    """The thresholds that a model with NMS states about itself."""
    return {
        "conf": spec.conf,
        "iou": spec.nms,
        "class_agnostic": spec.class_agnostic,
        "multi_class": spec.multi_class,
        "max_candidates": spec.max_candidates,
        "max_detections": spec.max_detections,
    }


class _Exported(nn.Module):
    """The module that is traced: a fused detector between fp32 images and an fp32 output."""

    def __init__(self, model: nn.Module, graph: GraphSpec):
        super().__init__()
        self.model = copied(model).eval()
        self.dtype = torch.float16 if graph.half else torch.float32
        self.model.to(self.dtype)
        self.decode = graph.decode or graph.nms is not None

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, A, 5 + C]."""
        x = images.to(self.dtype)
        if self.decode:
            decoded: Tensor = self.model(x)
            return decoded
        flat: Tensor = self.model.flat(self.model.raw(x))  # type: ignore[operator]
        return flat


def exported(module: nn.Module, inputs: tuple[Tensor, ...], **options: Any) -> Any:
    """What torch's exporter makes of a module: seconds of tracing, and no words."""
    return torch.onnx.export(module, inputs, dynamo=True, verbose=False, **options)


def to_onnx(model: nn.Module, info: ModelInfo, graph: GraphSpec) -> Any:
    """An onnx.ModelProto of a fused detector, checked, with its metadata.

    Raises UsageError where the size does not fit the strides or a package is absent, ExportError
    where torch cannot express the model.
    """
    onnx = require_extra("onnx", "onnx")
    require_extra("onnxscript", "onnx")
    height, width = graph.size_hw
    if height < 1 or width < 1 or height % info.divisor or width % info.divisor:
        raise UsageError(
            f"size {height} x {width} is not a multiple of {info.divisor}, as the model needs"
        )
    info = graph.describe(info)
    try:
        with _quiet():
            program = exported(
                _Exported(model, graph).eval(),
                (_example(graph, info.divisor),),
                opset_version=graph.opset,
                input_names=[graph.input_name],
                output_names=[DECODED if graph.nms else graph.output_name],
                dynamic_shapes=_dynamic_shapes(graph, info.divisor),
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = next(line for line in reversed(str(error).splitlines()) if line.strip())
        raise ExportError(f"torch cannot export this model: {reason.strip()}") from error
    assert program is not None  # it is None only where torch wrote a file itself
    content = program.model_proto
    _require_open(content, graph)
    _tidy(content)
    if graph.nms:
        content = append_nms(content, graph.nms, info.num_classes, graph.output_name)
    for key, value in info.to_metadata().items():
        content.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(content, full_check=True)
    logger.debug("{} nodes, opset {}", len(content.graph.node), graph.opset)
    return content


def save_onnx(content: Any, path: Path) -> None:
    """Write a graph whole or not at all."""
    with whole_file(path) as work:
        work.write_bytes(content.SerializeToString())


def _example(graph: GraphSpec, divisor: int) -> Tensor:
    """An input to trace with. Dynamic sizes must differ from 1 and from each other."""
    height, width = graph.size_hw
    if graph.dynamic:
        height, width = divisor * max(height // divisor, 2), divisor * max(width // divisor, 2)
        width += divisor if width == height else 0
    batch = max(graph.batch, 2) if graph.dynamic or graph.dynamic_batch else graph.batch
    return torch.zeros(batch, 3, height, width)


def _dynamic_shapes(graph: GraphSpec, divisor: int) -> dict[str, dict[int, Any]] | None:
    if not (graph.dynamic or graph.dynamic_batch):
        return None
    shape: dict[int, Any] = {0: Dim("batch", min=1, max=LARGEST_BATCH)}
    if graph.dynamic:
        shape[2] = divisor * Dim("rows", min=1, max=LARGEST_CELLS)
        shape[3] = divisor * Dim("columns", min=1, max=LARGEST_CELLS)
    return {"images": shape}


def _require_open(content: Any, graph: GraphSpec) -> None:
    """Raises ExportError where torch has made a constant of a length that was to be left open.

    It does so without a word where a model computes with Python's `len` of a tensor.
    """
    axes = ("batch", "height", "width") if graph.dynamic else ("batch",)
    if not (graph.dynamic or graph.dynamic_batch):
        return
    (image,) = content.graph.input
    dims = image.type.tensor_type.shape.dim
    for number, axis in zip((0, 2, 3), axes, strict=False):
        if not dims[number].dim_param:
            raise ExportError(
                f"torch cannot export this model for any {axis}: it takes {dims[number].dim_value} "
                "only (a model that uses len() or int() of a tensor?)"
            )


def _tidy(content: Any) -> None:
    """Drop what the exporter notes for debugging: it names source files of this machine."""
    for node in content.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    for value in [*content.graph.value_info, *content.graph.input, *content.graph.output]:
        del value.metadata_props[:]
    del content.graph.metadata_props[:]
    del content.metadata_props[:]
    content.producer_name = "yolox-compress"


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's own deprecation warnings are not the user's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
