"""The traced graphs, remembered: tracing takes seconds, and many tests need the same graphs."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from yolox.export import onnx_graph

_trace = onnx_graph.exported


class Remembered:
    """What the exporter answers; for equal networks, input shapes and options it is asked once.

    Networks that differ in the values of their weights alone share a graph, where it holds every
    weight under its name as it is: the values are then put into it. So do calls that differ in the
    names of inputs and outputs.
    folder: where the graphs lie, for all processes of a test run.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def __call__(
        self,
        module: nn.Module,
        inputs: tuple[Tensor, ...],
        *,
        input_names: Sequence[str],
        output_names: Sequence[str],
        **options: Any,
    ) -> SimpleNamespace:
        """The same as `onnx_graph.exported`, as far as it is used."""
        import onnx  # an extra: imported where it is used

        layers = _layers(module, inputs, options)
        path = shared = self._folder / _digest(layers, {})
        if not shared.is_file():
            path = self._folder / _digest(layers, module.state_dict())
        if not path.is_file():
            names = {"input_names": input_names, "output_names": output_names}
            content = _trace(module, inputs, **names, **options).model_proto
            path = shared if _holds(content, module) else path
            _write(content, path)
        content = onnx.load_from_string(path.read_bytes())
        if path == shared:
            _put(content, module)
        _rename(content, input_names, output_names)
        return SimpleNamespace(model_proto=content)


def _layers(module: nn.Module, inputs: tuple[Tensor, ...], options: dict[str, Any]) -> str:
    """What the answer depends on beside values: layers, their attributes, shapes, the call."""
    attributes = [
        (name, type(part).__qualname__, {k: v for k, v in vars(part).items() if k[0] != "_"})
        for name, part in module.named_modules()
    ]
    state = [(name, tuple(t.shape), t.dtype) for name, t in module.state_dict().items()]
    shapes = [(tuple(tensor.shape), tensor.dtype) for tensor in inputs]
    return repr((attributes, state, shapes, options))


def _digest(layers: str, state: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(layers.encode())
    for tensor in state.values():
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    """As a graph holds them."""
    return tensor.detach().contiguous().numpy().tobytes()


def _write(content: Any, path: Path) -> None:
    work = path.with_suffix(f".{os.getpid()}")
    work.write_bytes(content.SerializeToString())
    work.replace(path)


def _initializers(content: Any) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in content.graph.initializer}


def _holds(content: Any, module: nn.Module) -> bool:
    """Whether the graph has every weight as it is: none was computed with beforehand."""
    held = _initializers(content)
    return all(
        name in held and held[name].raw_data == _bytes(tensor)
        for name, tensor in module.state_dict().items()
    )


def _rename(content: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    graph = content.graph
    new = {part.name: name for part, name in zip(graph.input, inputs, strict=True)}
    new |= {part.name: name for part, name in zip(graph.output, outputs, strict=True)}
    for part in (*graph.input, *graph.output):
        part.name = new[part.name]
    for node in graph.node:
        for names in (node.input, node.output):
            for number, name in enumerate(names):
                names[number] = new.get(name, name)


def _put(content: Any, module: nn.Module) -> None:
    held = _initializers(content)
    for name, tensor in module.state_dict().items():
        held[name].raw_data = _bytes(tensor)
