"""Parameters and operations of an exported file, counted in its graph."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from yolox.backends.base import first_line, require_extra
from yolox.backends.open_vino import read_model, shared_core
from yolox.errors import ModelError
from yolox.models.complexity import Complexity

PASSING = ("DequantizeLinear", "QuantizeLinear", "Cast", "Identity")  # on a weight's way


def graph_size(path: str | Path, size_hw: tuple[int, int]) -> Complexity:
    """Weights and biases of convolutions and matrix products, those not zero, and their MACs.

    MACs are those of convolutions and matrix products alone (thop, which counts torch models,
    adds pooling and resizing: less than 1 % on YOLOX). For an .xml file the ONNX count does not
    apply: its parameters are counted, its MACs are NaN. Raises ModelError for a damaged file.
    """
    if Path(path).suffix == ".xml":
        return _vino_size(path)
    onnx = require_extra("onnx", "onnx")
    try:
        return _onnx_size(onnx, onnx.load(str(path)), size_hw)
    except Exception as error:
        raise ModelError(
            f"model {path} is damaged, or no ONNX file: {type(error).__name__}: {first_line(error)}"
        ) from error


def _onnx_size(onnx: Any, content: Any, size_hw: tuple[int, int]) -> Complexity:
    shapes = _shapes(onnx, content, size_hw)
    values = {item.name: onnx.numpy_helper.to_array(item) for item in content.graph.initializer}
    producer = {name: node for node in content.graph.node for name in node.output}
    params, nonzero, macs, seen = 0, 0, 0.0, set()
    for node in content.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        for name in node.input[1:3]:
            source = _source(name, producer)
            if source in values and source not in seen:
                seen.add(source)
                params += values[source].size
                nonzero += int(np.count_nonzero(values[source]))
        macs += _node_macs(node, shapes, values, producer)
    return Complexity(params, nonzero, macs)


def _source(name: str, producer: dict[str, Any]) -> str:
    """The stored tensor that a value comes from, through quantisation."""
    while name in producer and producer[name].op_type in PASSING:
        name = producer[name].input[0]
    return name


def _node_macs(node: Any, shapes: Any, values: Any, producer: Any) -> float:
    """Outputs times the weights that make one of them; NaN where the shape is not known."""
    output, weight = shapes.get(node.output[0]), values.get(_source(node.input[1], producer))
    if output is None or weight is None or None in output:
        return math.nan
    per_output = weight[0].size if node.op_type == "Conv" else weight.shape[0]
    return float(np.prod(output) * per_output)


def _shapes(onnx: Any, content: Any, size_hw: tuple[int, int]) -> dict[str, list[int | None]]:
    """Shapes of all values for one image of a size (a fixed size of the file stays)."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(content)
    dims = fixed.graph.input[0].type.tensor_type.shape.dim
    for dim, value in zip(dims, (1, 3, *size_hw), strict=False):
        if dim.dim_param or dim is dims[0]:
            dim.dim_value = value
    del fixed.graph.value_info[:]
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    return {
        item.name: [d.dim_value or None for d in item.type.tensor_type.shape.dim]
        for item in [*inferred.graph.value_info, *inferred.graph.output]
    }


def _vino_size(path: str | Path) -> Complexity:
    weights = [
        node.data
        for node in read_model(shared_core(), path).get_ordered_ops()
        if node.get_type_name() == "Constant" and node.data.ndim >= 4
    ]
    params = sum(weight.size for weight in weights)
    return Complexity(params, sum(int(np.count_nonzero(w)) for w in weights), math.nan)
