"""INT8 by post-training quantisation: ONNX Runtime's QDQ format, and NNCF for OpenVINO.

Both take calibration images and a list of layers that stay float, and write one file. Ranges of
activations are found once; every file after that only places the rounding.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from yolox.backends.base import ModelInfo, require_extra
from yolox.backends.onnx_runtime import make_session
from yolox.backends.open_vino import shared_core, write_model
from yolox.config import EvalSpec
from yolox.export.calibration import Ranges, one_by_one
from yolox.export.layers import Layers, onnx_convolutions, onnx_layers, vino_layers
from yolox.export.nms_graph import append_nms
from yolox.export.onnx_graph import nms_facts, save_onnx
from yolox.export.silu import LOWEST, silu_inputs, with_silu_as_one

# What ONNX Runtime has 8-bit kernels for, among what detectors consist of.
ONNX_OPERATORS = [
    "Add",
    "AveragePool",
    "Concat",
    "Conv",
    "GlobalAveragePool",
    "LeakyRelu",
    "MaxPool",
    "Mul",
    "Relu",
    "Resize",
    "Sigmoid",
    "Split",
]


class Quantizer(ABC):
    """A float graph and its calibration; `write` makes quantised files of it."""

    layers: Layers

    @abstractmethod
    def write(self, path: Path, float_layers: Sequence[str]) -> None:
        """Write the graph with everything quantised but these layers (module names)."""


class OnnxQuantizer(Quantizer):
    """QDQ: weights int8 per output channel, activations uint8 per tensor.

    Ranges leave out the rarest 0.001 % of values, and those far below zero of what SiLU is taken
    of; see benchmarks/README.md for what that brings.
    content: float graph of `to_onnx` without NMS; images: [n, 3, H, W] uint8.
    nms: thresholds of a suppression to append to a decoded graph whose output is `decoded`.
    Raises UsageError where a package is absent.
    """

    def __init__(
        self, content: Any, info: ModelInfo, images: Tensor, nms: EvalSpec | None, output: str
    ):
        self._onnx = require_extra("onnx", "onnx")
        self._tools = require_extra("onnxruntime.quantization", "onnxruntime")
        self.layers = onnx_layers(content)
        self._content = self._onnx.shape_inference.infer_shapes(content)
        self._info, self._nms, self._output = replace(info, precision="int8"), nms, output
        self._ranges = self._calibrate(images)

    def _calibrate(self, images: Tensor) -> Any:
        """Ranges of all values, image by image: memory does not grow with their number."""
        watched = self._onnx.ModelProto()
        watched.CopyFrom(self._content)
        del watched.graph.output[:]
        names = list(dict.fromkeys(n for node in watched.graph.node for n in node.output))
        watched.graph.output.extend(self._onnx.ValueInfoProto(name=name) for name in names)
        source = watched.graph.input[0].name
        session = make_session(watched.SerializeToString())
        ranges = Ranges()
        for image in tqdm(
            one_by_one(images, self._info.batch),
            total=len(images),
            desc="calibrating",
            disable=None,
        ):
            found = zip(names, session.run(None, {source: image.numpy()}), strict=True)
            for name, values in [(source, image.numpy()), *found]:
                if values.dtype == np.float32 and values.size:
                    ranges.add(name, torch.from_numpy(values))
        method = self._tools.CalibrationMethod.MinMax  # that is: ranges, without histograms
        shortened = silu_inputs(self._content)
        pairs = {}
        for name, (low, high) in ranges.found().items():
            low = max(low, LOWEST) if name in shortened else low
            pairs[name] = np.array(low, np.float32), np.array(high, np.float32)
        return self._tools.TensorsData(method, pairs)

    def write(self, path: Path, float_layers: Sequence[str]) -> None:
        """Write an .onnx file."""
        content = self._onnx.ModelProto()
        content.CopyFrom(self._content)
        with _silent():
            quantizer = self._tools.QDQQuantizer(
                content,
                per_channel=True,
                reduce_range=False,
                weight_qType=self._tools.QuantType.QInt8,
                activation_qType=self._tools.QuantType.QUInt8,
                tensors_range=self._ranges,
                nodes_to_quantize=[],
                nodes_to_exclude=self.layers.excluded(float_layers),
                op_types_to_quantize=ONNX_OPERATORS,
                extra_options={},
            )
            quantizer.quantize_model()
            quantizer.model.topological_sort()
        ready, info = quantizer.model.model, self._info
        del ready.metadata_props[:]
        if self._nms:
            ready = append_nms(ready, self._nms, info.num_classes, self._output)
            info = replace(info, output="detections", nms=nms_facts(self._nms))
        for key, value in info.to_metadata().items():
            ready.metadata_props.add(key=key, value=value)
        self._onnx.checker.check_model(ready, full_check=True)
        save_onnx(ready, path)


class VinoQuantizer(Quantizer):
    """NNCF's post-training quantisation (mixed preset: activations asymmetric) for OpenVINO."""

    def __init__(self, content: Any, info: ModelInfo, images: Tensor):
        self._vino = require_extra("openvino", "openvino")
        self._nncf = require_extra("nncf", "openvino")
        logging.getLogger("nncf").setLevel(logging.ERROR)
        self._bytes, self._images = content.SerializeToString(), images
        self._info = replace(info, precision="int8")
        self._modules = onnx_convolutions(content)
        self.layers = vino_layers(self._read(), self._modules)

    def _read(self) -> Any:
        return with_silu_as_one(shared_core().read_model(self._bytes, b""))

    def write(self, path: Path, float_layers: Sequence[str]) -> None:
        """Write an .xml file and the .bin beside it."""
        images = [image.numpy() for image in one_by_one(self._images, self._info.batch)]
        with _silent():
            quantised = self._nncf.quantize(
                self._read(),
                self._nncf.Dataset(images),
                preset=self._nncf.QuantizationPreset.MIXED,
                subset_size=len(images),
                ignored_scope=self._nncf.IgnoredScope(
                    names=self.layers.excluded(float_layers), validate=False
                ),
            )
        write_model(self._vino, quantised, path, self._info)


def make_quantizer(
    target: Path, content: Any, info: ModelInfo, images: Tensor, nms: EvalSpec | None, output: str
) -> Quantizer:
    """The quantizer of a file's format: NNCF for .xml, else ONNX Runtime's, with `nms`."""
    if target.suffix == ".xml":
        return VinoQuantizer(content, info, images)
    return OnnxQuantizer(content, info, images, nms, output)


def convert_to_vino(content: Any, info: ModelInfo, path: Path) -> None:
    """Write a float graph in OpenVINO's format: an .xml file and the .bin beside it."""
    vino = require_extra("openvino", "openvino")
    write_model(vino, shared_core().read_model(content.SerializeToString(), b""), path, info)


@contextmanager
def _silent() -> Iterator[None]:
    """The libraries print their steps, and warn of preparations that torch's graphs do not need."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logging.root.setLevel(level)
