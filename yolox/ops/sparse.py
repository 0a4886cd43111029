"""Storage of tensors with many zeros: a bit per weight and the kept values, or COO.

Bit-mask storage costs 1/32 of a dense fp32 tensor plus the kept values; packed, the values' bytes
are sorted by their place and deflated, which wins about a seventh more: weights differ little in
sign and exponent. COO costs four 64-bit indices per value of a convolution and is larger than dense
up to 90 % zeros. It is here because the YOLOX-M-P6 source system stores its result so.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from yolox.defaults import ENCODINGS
from yolox.limits import over_limit
from yolox.values import is_whole, shown

FLOATS = {"float32": torch.float32, "float16": torch.float16}  # of packed values
LEVEL = 9  # of deflation
SPARSE_FROM = 0.1  # share of zeros from which a tensor is stored sparsely


def encode(state: Mapping[str, Tensor], encoding: str, value_type: torch.dtype) -> dict[str, Any]:
    """Tensors and plain values only. `decode` gives the state back, bit-equal for float32."""
    one_of_encodings(encoding)
    if encoding == "coo":
        return {"encoding": "coo", "tensors": {k: _to_coo(v, value_type) for k, v in state.items()}}
    names: list[list[Any]] = []
    bits: list[npt.NDArray[np.uint8]] = []
    values: list[Tensor] = []
    dense: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not _is_sparse(tensor):
            dense[name] = tensor.to(value_type) if tensor.is_floating_point() else tensor
            names.append([name, None])
            continue
        flat = tensor.detach().cpu().float().reshape(-1)
        kept = flat != 0
        names.append([name, list(tensor.shape)])
        bits.append(np.packbits(kept.numpy()))
        values.append(flat[kept].to(value_type))
    stored = {
        "encoding": "bitmask",
        "names": names,
        "bits": torch.from_numpy(np.concatenate(bits) if bits else np.zeros(0, np.uint8)),
        "values": torch.cat(values) if values else torch.zeros(0, dtype=value_type),
        "dense": dense,
    }
    return _pack(stored) if encoding == "packed" else stored


def decode(stored: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict, dense and in float32, in its original order.

    Raises ValueError where sizes, bits and values do not fit each other to the last bit, or a shape
    is larger than MAX_PARAMETERS; KeyError or TypeError where a part is missing or something else.
    """
    one_of_encodings(stored["encoding"])
    if stored["encoding"] == "coo":
        return {key: _from_coo(key, tensor) for key, tensor in stored["tensors"].items()}
    if stored["encoding"] == "packed":
        stored = _unpack(stored)
    bits, values = _flat(stored["bits"], torch.uint8), _flat(stored["values"]).float()
    byte, start = 0, 0
    state: dict[str, Tensor] = {}
    for name, shape in stored["names"]:
        if shape is None:
            state[name] = _as_float32(stored["dense"][name])
            continue
        size = _size(name, shape)
        length = (size + 7) // 8
        packed = bits[byte : byte + length].numpy()
        if len(packed) < length:
            raise ValueError(f"{name}: the bits end too early")
        kept = np.unpackbits(packed)
        count = int(kept.sum())
        if kept[size:].any() or start + count > len(values):
            raise ValueError(f"{name}: the bits name more values than there are")
        flat = torch.zeros(size)
        flat[torch.from_numpy(kept[:size]).bool()] = values[start : start + count]
        state[name] = flat.reshape(shape)
        byte, start = byte + length, start + count
    if byte != len(bits) or start != len(values):
        raise ValueError("bits or values are left over")
    return state


def _pack(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What the encoding 'bitmask' holds, all floating-point values in one deflated stream."""
    values = stored["values"]
    floats = {key: part for key, part in stored["dense"].items() if part.dtype == values.dtype}
    flat = torch.cat([values, *(part.detach().cpu().reshape(-1) for part in floats.values())])
    places = flat.numpy().view(np.uint8).reshape(-1, values.element_size()).T
    stream = zlib.compress(np.ascontiguousarray(places).tobytes(), LEVEL)
    return {
        "encoding": "packed",
        "names": stored["names"],
        "bits": stored["bits"],
        "dense": {key: part for key, part in stored["dense"].items() if key not in floats},
        "type": str(values.dtype).removeprefix("torch."),
        "kept": len(values),
        "floats": [[key, list(part.shape)] for key, part in floats.items()],
        "stream": torch.from_numpy(np.frombuffer(stream, np.uint8).copy()),
    }


def _unpack(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of `_pack`. Raises ValueError where the stream has another length than stated."""
    if stored["type"] not in FLOATS:
        raise ValueError(f"type {shown(stored['type'])} is none of {', '.join(FLOATS)}")
    kind = FLOATS[stored["type"]]
    shapes = [(key, shape, _size(key, shape)) for key, shape in stored["floats"]]
    count = _size("kept", [stored["kept"]]) + sum(size for _, _, size in shapes)
    _size("values", [count])
    flat = torch.from_numpy(_inflated(stored["stream"], count, kind.itemsize)).view(kind)
    parts = torch.split(flat, [stored["kept"], *(size for _, _, size in shapes)])
    dense = {
        key: part.reshape(shape) for (key, shape, _), part in zip(shapes, parts[1:], strict=True)
    }
    return {
        "encoding": "bitmask",
        "names": stored["names"],
        "bits": stored["bits"],
        "values": parts[0],
        "dense": {**stored["dense"], **dense},
    }


def _inflated(stream: Tensor, count: int, width: int) -> npt.NDArray[np.uint8]:
    """The bytes [count * width] of a stream, each value's together. Raises ValueError."""
    inflater = zlib.decompressobj()
    try:  # never more than is stated, whatever the stream holds
        found = inflater.decompress(_flat(stream, torch.uint8).numpy().tobytes(), count * width + 1)
    except zlib.error as error:
        raise ValueError(f"the stream of values is damaged: {error}") from error
    if len(found) != count * width or not inflater.eof or inflater.unused_data:
        raise ValueError(f"the stream of values has not the {count} that are stated")
    return np.ascontiguousarray(np.frombuffer(found, np.uint8).reshape(width, count).T).reshape(-1)


def one_of_encodings(encoding: object) -> None:
    """Raises ValueError for an encoding that is unknown."""
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding {shown(encoding)} is none of {', '.join(ENCODINGS)}")


def _size(name: str, shape: Sequence[int]) -> int:
    """Number of values of a stated shape. Raises ValueError before memory is taken."""
    if not all(is_whole(length) and length >= 0 for length in shape):
        raise ValueError(f"{name}: shape {shown(shape)} is no shape")
    size = math.prod(shape)
    reason = over_limit("MAX_PARAMETERS", size)
    if reason:
        raise ValueError(f"{name}: shape {shown(shape)}: values: {reason}")
    return size


def _flat(tensor: Tensor, kind: torch.dtype | None = None) -> Tensor:
    """One dimension, of the type `kind` or (None) of floating point. Raises ValueError."""
    fits = tensor.dtype == kind if kind is not None else tensor.is_floating_point()
    if tensor.layout != torch.strided or tensor.dim() != 1 or not fits:
        raise ValueError(f"bits or values are a {tensor.dtype} of shape {tuple(tensor.shape)}")
    return tensor


def _is_sparse(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or tensor.dim() < 2:
        return False
    return bool((tensor == 0).float().mean() >= SPARSE_FROM)


def _to_coo(tensor: Tensor, value_type: torch.dtype) -> Tensor:
    tensor = tensor.detach().cpu()
    if not tensor.is_floating_point():
        return tensor
    tensor = tensor.to(value_type)
    return tensor.to_sparse().coalesce() if tensor.dim() == 4 else tensor


def _from_coo(name: str, tensor: Tensor) -> Tensor:
    _size(name, tensor.shape)
    return _as_float32(tensor.to_dense() if tensor.is_sparse else tensor)


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
