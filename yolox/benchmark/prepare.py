"""The files that workers open: exported and quantised from checkpoints before anything is timed."""

from pathlib import Path
from typing import Any

import torch
from loguru import logger
from torch import Tensor, nn

from yolox.backends import ModelInfo
from yolox.benchmark.cases import BenchmarkSpec, Case, Model
from yolox.data.folder import find_images
from yolox.defaults import FILE_BACKENDS
from yolox.engine import checkpoint
from yolox.engine.restore import restore_content
from yolox.errors import DataError
from yolox.exp import BaseExp
from yolox.export.calibration import calibration_images, drawn_images
from yolox.export.graph_size import graph_size
from yolox.export.onnx_graph import GraphSpec, save_onnx, to_onnx
from yolox.export.open import file_bytes, is_exported, model_info
from yolox.export.quantize import make_quantizer
from yolox.families import spec_to_dict
from yolox.models.complexity import Complexity, complexity
from yolox.models.fuse import fuse

CALIBRATION_IMAGES = 32


def prepare(model: Model, plan: BenchmarkSpec, work: Path, calibration: str | None) -> list[Case]:
    """The cases of a model; their files are made anew in `work`, a folder of this model's own.

    calibration: folder of images for int8 (None: the experiment's training images, else drawn ones,
    which are as good for speed). What was asked for and cannot be is named in a warning.
    """
    work.mkdir(parents=True, exist_ok=True)
    if model.path is not None and is_exported(model.path):
        return _exported_cases(model, model.path, plan)
    assert model.exp is not None  # only exported files may lack one
    pairs = plan.pairs()
    for backend in plan.backends or ("torch",):
        left = [p for p in plan.precisions if (backend, p) not in pairs]
        if left:
            logger.warning("{}: {} cannot compute in {}", model.name, backend, ", ".join(left))
    maker = _Maker(model, model.exp, work, calibration)
    return [
        Case(model, file, backend, precision, batch, maker.size, maker.bytes(file))
        for backend, precision in pairs
        for file in [maker.file(backend, precision)]
        for batch in plan.batches
    ]


def _exported_cases(model: Model, path: Path, plan: BenchmarkSpec) -> list[Case]:
    """An exported file keeps its precision and its batch size."""
    assert model.info is not None
    able, own = FILE_BACKENDS[path.suffix], model.info.precision
    fitting = [
        (backend, precision if own == "fp32" else own)
        for backend in plan.backends or able[:1]
        if backend in able
        for precision in plan.precisions
        if own != "fp32" or precision == "fp32" or (precision == "bf16" and backend == "openvino")
    ]
    batches = [batch for batch in plan.batches if model.info.batch in (None, batch)]
    for batch in set(plan.batches) - set(batches):
        logger.warning("{} has batch size {}, not {}", path, model.info.batch, batch)
    if not fitting:
        logger.warning("{} ({}) runs in none of the ways asked for", path, own)
    size = graph_size(path, model.size_hw)
    total = file_bytes(path)
    return [
        Case(model, path, backend, precision, batch, size, total)
        for backend, precision in dict.fromkeys(fitting)
        for batch in batches
    ]


class _Maker:
    """Makes each file once. What a checkpoint needs of PyTorch happens here, not in the workers."""

    def __init__(self, model: Model, exp: BaseExp, work: Path, calibration: str | None):
        self._work, self._exp, self._calibration = work, exp, calibration
        self._name, self._size_hw = model.name, model.size_hw
        self._checkpoint = model.path or self._random(exp)
        content = checkpoint.read(self._checkpoint)
        restored = restore_content(content, self._checkpoint, exp.detector_spec())
        self._module: nn.Module = fuse(restored.model)
        self._info: ModelInfo = model_info(restored)
        self.size: Complexity = complexity(self._module, model.size_hw)
        self._stored = checkpoint.weights_bytes(content, self._checkpoint)
        self._graph: Any = None
        self._made: set[Path] = set()

    def _random(self, exp: BaseExp) -> Path:
        """A checkpoint of random weights. Batch norm keeps its activations in a sane range."""
        torch.manual_seed(0)
        content = {"model": exp.get_model().state_dict(), "spec": spec_to_dict(exp.detector_spec())}
        path = self._work / "random.pth"
        checkpoint.save(path, content)
        return path

    def file(self, backend: str, precision: str) -> Path:
        """The file for a backend and a precision."""
        if backend in ("torch", "compile"):
            return self._checkpoint
        quantised = precision == "int8"
        suffix = ".xml" if quantised and backend == "openvino" else ".onnx"
        kind = precision if quantised or precision == "fp16" else "fp32"
        path = self._work / f"{self._name.replace('/', '_')}.{kind}{suffix}"
        if path not in self._made:
            logger.info("{}: making {}", self._name, path.name)
            self._make(path, kind)
            self._made.add(path)
        return path

    def bytes(self, file: Path) -> int:
        """Of the weights: a checkpoint's training state does not count."""
        if not is_exported(file):
            return self._stored
        return file_bytes(file)

    def _make(self, path: Path, kind: str) -> None:
        graph = GraphSpec(self._size_hw, dynamic_batch=True, half=kind == "fp16")
        if kind == "fp16":
            save_onnx(to_onnx(self._module, self._info, graph), path)
            return
        if self._graph is None:
            self._graph = to_onnx(self._module, self._info, graph)
        if kind == "fp32":
            save_onnx(self._graph, path)
            return
        info, images = graph.describe(self._info), self._images()
        quantizer = make_quantizer(path, self._graph, info, images, None, graph.output_name)
        quantizer.write(path, ())

    def _images(self) -> Tensor:
        if self._calibration:
            source = find_images(Path(self._calibration))
            return calibration_images(source, self._size_hw, CALIBRATION_IMAGES)
        try:
            return calibration_images(self._exp.get_dataset(), self._size_hw, CALIBRATION_IMAGES)
        except DataError as error:
            logger.warning("int8 ranges come from drawn images, AP would suffer: {}", error)
            return drawn_images(self._size_hw, CALIBRATION_IMAGES)
