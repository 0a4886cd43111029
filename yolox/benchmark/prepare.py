"""The files that workers open: exported and quantised from checkpoints before anything is timed."""

from pathlib import Path
from typing import Any

import torch
from loguru import logger
from torch import Tensor, nn

from yolox.backends import ModelInfo
from yolox.benchmark.cases import Case, Model, Plan, runs_on
from yolox.config import to_dict
from yolox.engine import checkpoint
from yolox.errors import DataError
from yolox.exp import Exp
from yolox.export.calibration import calibration_images, drawn_images, folder_images
from yolox.export.graph_size import graph_size
from yolox.export.onnx_graph import GraphSpec, save_onnx, to_onnx
from yolox.export.open import describe, is_exported
from yolox.export.quantize import OnnxQuantizer, Quantizer, VinoQuantizer
from yolox.models.complexity import Complexity, complexity
from yolox.models.fuse import fuse

CALIBRATION_IMAGES = 32


def prepare(model: Model, plan: Plan, work: Path, calibration: str | None) -> list[Case]:
    """The cases of a model, and their files in `work`.

    calibration: folder of images for int8 (None: the experiment's training images, else drawn ones,
    which are as good for speed).
    """
    if model.path is not None and is_exported(model.path):
        return _exported_cases(model, model.path, plan)
    assert model.exp is not None  # only exported files may lack one
    maker = _Maker(model, model.exp, work, calibration)
    return [
        Case(model, file, backend, precision, batch, maker.size, sum(map(_bytes, _parts(file))))
        for backend, precision in plan.pairs()
        for file in [maker.file(backend, precision)]
        for batch in plan.batches
    ]


def _exported_cases(model: Model, path: Path, plan: Plan) -> list[Case]:
    own = model.info.precision if model.info else "fp32"
    size = graph_size(path, model.size_hw)
    pairs = dict.fromkeys(
        (backend, own if own in ("int8", "fp16") else precision)
        for backend, precision in plan.pairs()
        if runs_on(model, backend) and (own != "fp32" or precision in ("fp32", "bf16"))
    )
    if not pairs:
        logger.warning("{}: none of the backends asked for runs it", path)
    return [
        Case(model, path, backend, precision, batch, size, sum(map(_bytes, _parts(path))))
        for backend, precision in pairs
        for batch in plan.batches
    ]


class _Maker:
    """Makes each file once. What a checkpoint needs of PyTorch happens here, not in the workers."""

    def __init__(self, model: Model, exp: Exp, work: Path, calibration: str | None):
        self._work, self._exp, self._calibration = work, exp, calibration
        self._name, self._size_hw = model.name, model.size_hw
        self._checkpoint = model.path or self._random(exp)
        restored = checkpoint.restore(self._checkpoint, exp.detector_spec())
        self._module: nn.Module = fuse(restored.model)
        self._info: ModelInfo = describe(restored)
        self.size: Complexity = complexity(self._module, model.size_hw)
        self._graph: Any = None

    def _random(self, exp: Exp) -> Path:
        """A checkpoint of random weights. Batch norm keeps its activations in a sane range."""
        torch.manual_seed(0)
        content = {"model": exp.get_model().state_dict(), "spec": to_dict(exp.detector_spec())}
        path = self._work / f"{self._name}.random.pth"
        checkpoint.save(path, content)
        return path

    def file(self, backend: str, precision: str) -> Path:
        """The file for a backend and a precision."""
        if backend in ("torch", "compile"):
            return self._checkpoint
        quantised = precision == "int8"
        suffix = ".xml" if quantised and backend == "openvino" else ".onnx"
        kind = precision if quantised or precision == "fp16" else "fp32"
        path = self._work / f"{self._name}.{kind}{suffix}"
        if not path.is_file():
            logger.info("{}: making {}", self._name, path.name)
            self._make(path, kind)
        return path

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
        quantizer: Quantizer = (
            VinoQuantizer(self._graph, info, images)
            if path.suffix == ".xml"
            else OnnxQuantizer(self._graph, info, images, None, graph.output_name)
        )
        quantizer.write(path, ())

    def _images(self) -> Tensor:
        if self._calibration:
            source = folder_images(self._calibration)
            return calibration_images(source, self._size_hw, CALIBRATION_IMAGES)
        try:
            return calibration_images(self._exp.get_dataset(), self._size_hw, CALIBRATION_IMAGES)
        except DataError as error:
            logger.warning("int8 ranges come from drawn images, AP would suffer: {}", error)
            return drawn_images(self._size_hw, CALIBRATION_IMAGES)


def _parts(path: Path) -> list[Path]:
    return [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]


def _bytes(path: Path) -> int:
    return path.stat().st_size
