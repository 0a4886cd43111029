"""Layers of an exported graph: which nodes belong to which convolution of the model.

Quantisation is decided per layer: a convolution and what follows it (activation, sum, concat) up
to the next convolution. What no convolution follows (decoding, NMS) is never quantised. Where a
runtime's 8-bit convolution rounds what it puts out, too, the last ones are not either: what they
put out are the predictions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PREFIX, SUFFIX = "model.", ".weight"  # of a weight's name in the traced module
VINO_CONVOLUTIONS = ("Convolution", "GroupConvolution")
VINO_SUFFIX = "/WithoutBiases"  # how OpenVINO names a convolution whose bias became a sum


@dataclass(frozen=True)
class Layers:
    """members: node names of each layer, by the module's name in the model; tail: the rest."""

    members: dict[str, list[str]]
    tail: list[str]

    def excluded(self, layers: Sequence[str]) -> list[str]:
        """Names of the nodes that stay float when these layers do."""
        return [*self.tail, *(node for layer in layers for node in self.members[layer])]


def onnx_layers(content: Any) -> Layers:
    """The layers of an onnx.ModelProto written by `to_onnx` (before NMS is appended).

    Without the last ones: ONNX Runtime would round the predictions.
    """
    producer = {name: node.name for node in content.graph.node for name in node.output}
    inputs = {
        node.name: [producer[name] for name in node.input if name in producer]
        for node in content.graph.node
    }
    return group(inputs, onnx_convolutions(content), last=False)


def onnx_convolutions(content: Any) -> dict[str, str]:
    """Module name of each convolution node."""
    return {
        node.name: node.input[1].removeprefix(PREFIX).removesuffix(SUFFIX)
        for node in content.graph.node
        if node.op_type == "Conv"
    }


def vino_layers(model: Any, modules: Mapping[str, str]) -> Layers:
    """The layers of an ov.Model read from such a file. modules: of `onnx_convolutions`."""
    operations = model.get_ordered_ops()
    inputs = {
        node.get_friendly_name(): [v.get_node().get_friendly_name() for v in node.input_values()]
        for node in operations
    }
    convolutions = {
        node.get_friendly_name(): modules[node.get_friendly_name().removesuffix(VINO_SUFFIX)]
        for node in operations
        if node.get_type_name() in VINO_CONVOLUTIONS
    }
    return group(inputs, convolutions)


def group(
    inputs: Mapping[str, Sequence[str]], convolutions: Mapping[str, str], last: bool = True
) -> Layers:
    """inputs: the nodes that each node reads, in topological order; convolutions: their modules.

    last: whether convolutions that no other one follows are layers, or part of the tail.
    """
    owner: dict[str, str | None] = {}
    for node, sources in inputs.items():
        above = (owner[source] for source in sources if owner.get(source) is not None)
        owner[node] = convolutions.get(node) or next(above, None)
    read = [source for node in convolutions for source in inputs[node]]
    before = _ancestors(inputs, convolutions if last else read)
    members: dict[str, list[str]] = {convolutions[n]: [] for n in convolutions if n in before}
    for node in before:
        module = owner[node]
        if module is not None:
            members[module].append(node)
    return Layers(members, [node for node in inputs if node not in before])


def _ancestors(inputs: Mapping[str, Sequence[str]], ends: Iterable[str]) -> dict[str, None]:
    """Nodes from which an end can be reached, the ends among them, in the order of `inputs`."""
    found, waiting = set(), list(ends)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(inputs[node])
    return {node: None for node in inputs if node in found}
