"""The traced graphs, remembered: tracing takes seconds, and many tests need the same graphs."""

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from yolox.export import onnx_graph

_trace = onnx_graph.exported


class Remembered:
    """What the exporter answers; for equal networks, input shapes and options it is asked once.

    folder: where the graphs lie, for all processes of a test run.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def __call__(
        self, module: nn.Module, inputs: tuple[Tensor, ...], **options: Any
    ) -> SimpleNamespace:
        """The same as `onnx_graph.exported`, as far as it is used."""
        import onnx  # an extra: imported where it is used

        path = self._folder / _key(module, inputs, options)
        if not path.is_file():
            work = path.with_suffix(f".{os.getpid()}")
            work.write_bytes(_trace(module, inputs, **options).model_proto.SerializeToString())
            work.replace(path)
        return SimpleNamespace(model_proto=onnx.load_from_string(path.read_bytes()))


def _key(module: nn.Module, inputs: tuple[Tensor, ...], options: dict[str, Any]) -> str:
    """Everything that the answer depends on: layers and their attributes, weights, the call."""
    attributes = [
        (name, type(part).__qualname__, {k: v for k, v in vars(part).items() if k[0] != "_"})
        for name, part in module.named_modules()
    ]
    shapes = [(tuple(tensor.shape), tensor.dtype) for tensor in inputs]
    digest = hashlib.sha256(repr((attributes, shapes, options)).encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()
