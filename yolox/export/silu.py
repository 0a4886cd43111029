"""SiLU, x * sigmoid(x), in graphs that are quantised: there it stands as two operations.

Rounded between the two, it loses far more than where it counts as one operation (OpenVINO has
one), and where the runtime has none (ONNX Runtime), what it is given needs no range far below
zero: there it gives next to nothing.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from yolox.backends.base import require_extra

LOWEST = -6.0  # silu(-6) is -0.015; of what lies below, no more than that is lost


def silu_inputs(content: Any) -> set[str]:
    """Names of the values that SiLU is taken of, and nothing else reads, in an onnx.ModelProto."""
    maker = {name: node for node in content.graph.node for name in node.output}
    reads = Counter(name for node in content.graph.node for name in node.input)
    reads.update(output.name for output in content.graph.output)
    return {
        value
        for node in content.graph.node
        if node.op_type == "Mul"
        for value, factor in _both_ways(node.input)
        if factor in maker
        and maker[factor].op_type == "Sigmoid"
        and maker[factor].input[0] == value
        and reads[value] == 2
    }


def with_silu_as_one(model: Any) -> Any:
    """An ov.Model whose SiLUs are one operation each, named as the product was; in place."""
    operations = require_extra("openvino.opset13", "openvino")
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Multiply":
            continue
        for value, factor in _both_ways(node.input_values()):
            sigmoid = factor.get_node()
            if sigmoid.get_type_name() == "Sigmoid" and sigmoid.input_value(0) == value:
                silu = operations.swish(value)
                silu.set_friendly_name(node.get_friendly_name())
                node.output(0).replace(silu.output(0))
                break
    model.validate_nodes_and_infer_types()
    return model


def _both_ways(pair: Any) -> Iterator[tuple[Any, Any]]:
    first, second = pair
    yield first, second
    yield second, first
