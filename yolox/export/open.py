"""Any model file in any backend: checkpoints, ONNX files, OpenVINO files."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from loguru import logger
from torch import nn

from yolox.backends import Backend, ModelInfo, TorchBackend
from yolox.backends.base import PRECISIONS
from yolox.backends.onnx_runtime import OnnxRuntimeBackend
from yolox.backends.open_vino import OpenVinoBackend
from yolox.config import nearest
from yolox.data.coco_classes import category_ids, class_labels
from yolox.defaults import BACKENDS, FILE_BACKENDS, PROVIDER
from yolox.engine.restore import Restored, restore
from yolox.errors import UsageError
from yolox.export.onnx_graph import GraphSpec, save_onnx, to_onnx
from yolox.families import DetectorSpec
from yolox.models.fuse import fuse


@dataclass(frozen=True)
class Runtime:
    """Which backend computes, in which precision and where.

    backend: None takes torch for checkpoints, and the file's own runtime for exported files.
    threads: 0 leaves the number to the runtime. provider: of ONNX Runtime.
    Raises UsageError for an unknown backend or precision.
    """

    backend: str | None = None
    precision: str = "fp32"
    device: torch.device | None = None
    threads: int = 0
    provider: str = PROVIDER

    def __post_init__(self) -> None:
        if self.backend is not None and self.backend not in BACKENDS:
            hint = nearest(self.backend, BACKENDS)
            raise UsageError(f"backend {self.backend!r} is none of {', '.join(BACKENDS)}{hint}")
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision {self.precision!r} is none of {', '.join(PRECISIONS)}")
        if self.threads < 0:
            raise UsageError(f"--threads {self.threads} is negative")


@dataclass(frozen=True)
class Opened:
    """A model ready to run; `model` is the fused module where it came from a checkpoint."""

    backend: Backend
    model: nn.Module | None = None


def file_parts(path: Path) -> list[Path]:
    """The files of an exported model: OpenVINO keeps weights in a second one."""
    return [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]


def file_bytes(path: Path) -> int:
    """Bytes of an exported model, all its files together."""
    return sum(part.stat().st_size for part in file_parts(path))


def require_device_used(device: str | None, path: str | Path, backend: str | None) -> None:
    """Raises UsageError where a device is named, and the model would run in a backend without it.

    device: as the user wrote it, None for none. backend: None for the file's own.
    """
    outside = is_exported(path) if backend is None else backend not in ("torch", "compile")
    if device not in (None, "cpu") and outside:
        where = f"runs in {backend}" if backend else "runs in its file's own backend"
        raise UsageError(
            f"device {device!r} is for torch, and {path} {where} (ONNX Runtime: see its provider)"
        )


def is_exported(path: str | Path) -> bool:
    """Whether a file is an exported one by its name, not a checkpoint."""
    return Path(path).suffix in FILE_BACKENDS


def open_model(
    path: str | Path,
    runtime: Runtime,
    size_hw: tuple[int, int],
    expected: DetectorSpec | None = None,
    *,
    fused: bool = True,
    any_size: bool = False,
    info: ModelInfo | None = None,
) -> Opened:
    """Open a model for images of `size_hw` (exported files of a fixed size keep their own).

    expected: the experiment's architecture. A checkpoint is exported on the way to backends other
    than torch; any_size: for images of other sizes, too. info: what an exported file is, for those
    without our metadata. Raises ModelError or UsageError naming what does not fit.
    """
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    if is_exported(path):
        backend = open_file(path, runtime, info)
        if info is None and expected is not None:
            require_classes(backend.info, expected.num_classes, path)
        return Opened(backend)
    restored = restore(path, expected)
    stated = model_info(restored)
    model = fuse(restored.model) if fused else restored.model
    return Opened(open_module(model, stated, runtime, size_hw, any_size=any_size), model)


def open_module(
    model: nn.Module,
    info: ModelInfo,
    runtime: Runtime,
    size_hw: tuple[int, int],
    *,
    any_size: bool = False,
) -> Backend:
    """A module in any backend; backends other than torch get it by way of an ONNX file.

    info: what the module is. any_size: for images of other sizes than `size_hw`, too.
    """
    if runtime.backend in (None, "torch", "compile"):
        compiled = runtime.backend == "compile"
        return TorchBackend(model, info, runtime.device, runtime.precision, compiled=compiled)
    half = runtime.backend == "onnxruntime" and runtime.precision == "fp16"
    graph = GraphSpec(size_hw, dynamic_batch=True, dynamic=any_size, half=half)
    return _through_onnx(model, info, runtime, graph)


def model_info(restored: Restored) -> ModelInfo:
    """What a runtime must know of a checkpoint's model."""
    classes = restored.spec.num_classes
    return ModelInfo(
        classes,
        restored.spec.divisor,
        class_labels(classes, restored.class_names),
        category_ids(classes, restored.category_ids),
        family=restored.spec.family,
        strides=restored.model.strides,
    )


def open_file(path: str | Path, runtime: Runtime, info: ModelInfo | None = None) -> Backend:
    """An exported file. Raises UsageError where the backend cannot read its format.

    info: what the file is, for files without our metadata.
    """
    able = FILE_BACKENDS[Path(path).suffix]
    name = runtime.backend or able[0]
    if name not in able:
        raise UsageError(f"backend {name} cannot run {path}: name one of {', '.join(able)}")
    if name == "openvino":
        return OpenVinoBackend(path, info, precision=runtime.precision, threads=runtime.threads)
    backend = OnnxRuntimeBackend(path, info, threads=runtime.threads, provider=runtime.provider)
    if runtime.precision not in ("fp32", backend.precision):
        raise UsageError(
            f"{path} is {backend.precision}: export it in {runtime.precision} to run it so"
        )
    return backend


def require_classes(info: ModelInfo, classes: int, path: str | Path) -> None:
    """Raises UsageError where a file and an experiment differ in their number of classes."""
    if info.num_classes != classes:
        raise UsageError(f"{path} has {info.num_classes} classes, the experiment has {classes}")


def _through_onnx(model: nn.Module, info: ModelInfo, runtime: Runtime, graph: GraphSpec) -> Backend:
    """A checkpoint in a runtime that reads ONNX: exported to a file that is gone afterwards."""
    if runtime.precision == "int8":
        raise UsageError("int8 needs a quantised file: yolox export --int8, then name that file")
    if runtime.precision == "bf16" and runtime.backend == "onnxruntime":
        raise UsageError("onnxruntime has no bf16 on the CPU: fp32, or fp16 on CUDA")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        save_onnx(to_onnx(model, info, graph), path)
        logger.debug("exported to ONNX for {}", runtime.backend)
        return open_file(path, runtime)
