"""A hash of what a checkpoint holds: of every tensor and value, not of how the file is laid out."""

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

KEY = "sha256"  # of a checkpoint, where the hash of all other keys stands
THREADS = 4
THREADS_FROM = 16_000_000  # bytes: threads cost more than they save below
MAX_DEPTH = 100
MAX_VALUES = 5_000_000  # a file of a few bytes can refer to one list any number of times


def content_hash(content: Mapping[str, Any]) -> str:
    """SHA-256 over every tensor's name, type, shape and bytes, and over the plain values.

    `content[KEY]` itself does not count, nor does the order of keys. Raises ValueError for what is
    neither a tensor nor plain, or nested without end.
    """
    tensors: list[Tensor] = []
    form = _form({key: value for key, value in content.items() if key != KEY}, tensors, [0], 0)
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors) < THREADS_FROM:
        digests = list(map(_tensor_hash, tensors))
    else:
        with ThreadPoolExecutor(THREADS) as pool:
            digests = list(pool.map(_tensor_hash, tensors))
    return hashlib.sha256(json.dumps([form, digests]).encode()).hexdigest()


def _form(value: Any, tensors: list[Tensor], count: list[int], depth: int) -> Any:
    """JSON that tells values of every kind apart; tensors go to a list of their own."""
    count[0] += 1
    if depth > MAX_DEPTH or count[0] > MAX_VALUES:
        raise ValueError("values are nested without end")
    if isinstance(value, Tensor):
        tensors.append(value)
        return ["tensor", str(value.dtype), list(value.shape), str(value.layout)]
    if isinstance(value, Mapping):
        items = [
            [_form(part, tensors, count, depth + 1) for part in pair] for pair in _sorted(value)
        ]
        return ["dict", items]
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return [kind, [_form(item, tensors, count, depth + 1) for item in value]]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return ["int", hex(value)]
    if isinstance(value, float):
        return ["float", value.hex()]
    raise ValueError(f"a {type(value).__name__} is no plain value")


def _sorted(values: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    return sorted(values.items(), key=lambda item: (type(item[0]).__name__, item[0]))


def _tensor_hash(tensor: Tensor) -> str:
    if tensor.layout == torch.sparse_coo:
        parts = [tensor._indices(), tensor._values()]
        return hashlib.sha256("".join(map(_tensor_hash, parts)).encode()).hexdigest()
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    data: Any = flat.view(torch.uint8).numpy()
    return hashlib.sha256(data).hexdigest()
