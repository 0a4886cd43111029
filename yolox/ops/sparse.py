"""Storage of tensors with many zeros: a bit per weight and the kept values, or COO.

Bit-mask storage costs 1/32 of a dense fp32 tensor plus the kept values; COO costs four 64-bit
indices per value of a convolution and is larger than dense up to 90 % zeros. It is here because
the YOLOX-M-P6 source system stores its result so.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

ENCODINGS = ("bitmask", "coo")
SPARSE_FROM = 0.1  # share of zeros from which a tensor is stored sparsely


def encode(state: Mapping[str, Tensor], encoding: str, value_type: torch.dtype) -> dict[str, Any]:
    """Tensors and plain values only. `decode` gives the state back, bit-equal for float32."""
    if encoding == "coo":
        return {"encoding": "coo", "tensors": {k: _to_coo(v, value_type) for k, v in state.items()}}
    if encoding != "bitmask":
        raise ValueError(f"encoding {encoding!r} is none of {', '.join(ENCODINGS)}")
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
    return {
        "encoding": "bitmask",
        "names": names,
        "bits": torch.from_numpy(np.concatenate(bits) if bits else np.zeros(0, np.uint8)),
        "values": torch.cat(values) if values else torch.zeros(0, dtype=value_type),
        "dense": dense,
    }


def decode(stored: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict, dense and in float32, in its original order."""
    if stored["encoding"] == "coo":
        return {key: _from_coo(tensor) for key, tensor in stored["tensors"].items()}
    state: dict[str, Tensor] = {}
    bits, values = stored["bits"].numpy(), stored["values"].float()
    byte, start = 0, 0
    for name, shape in stored["names"]:
        if shape is None:
            state[name] = _as_float32(stored["dense"][name])
            continue
        size = int(np.prod(shape))
        length = (size + 7) // 8
        kept = torch.from_numpy(np.unpackbits(bits[byte : byte + length], count=size)).bool()
        flat = torch.zeros(size)
        count = int(kept.sum())
        flat[kept] = values[start : start + count]
        state[name] = flat.reshape(shape)
        byte, start = byte + length, start + count
    return state


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


def _from_coo(tensor: Tensor) -> Tensor:
    return _as_float32(tensor.to_dense() if tensor.is_sparse else tensor)


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
