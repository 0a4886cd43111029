"""Configurations of deployment runs with something wrong in them."""

import json
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz.settings import require_one_line
from tests.fuzz.values import VALUES, mutations
from yolox.cli.jobs.deploy import load_config
from yolox.errors import UsageError

GOOD = {
    "checkpoint": "merged.pth",
    "images": "images",
    "answer": "answer.json",
    "annotations": None,
    "exp": "yolox-nano",
    "size": [416, 416],
    "rectangular": True,
    "batch_size": 8,
    "workers": 2,
    "device": "cpu",
    "backend": "torch",
    "threads": 0,
    "provider": "CPUExecutionProvider",
    "precision": "fp32",
    "conf": 0.001,
    "nms": 0.65,
    "class_agnostic": False,
    "multi_class": True,
    "soft_nms": False,
    "max_candidates": 5000,
    "max_detections": 300,
    "min_class_ratio": 0.0,
    "min_objectness_ratio": 0.0,
}
TEXTS = [
    "",
    "null",
    "[]",
    "1",
    "{",
    '{"a": 1, "a": 2}',
    "[" * 100_000,
    '{"size":' * 50_000,
    '{"conf": NaN}',
    '{"conf": 1e400}',
    '{"batch_size": ' + "9" * 5000 + "}",
    '{"\\ud800": 1}',
    '{"checkpoint": "\\ud800", "images": "x"}',
    '{"checkpoint": "a\\u0000b", "images": "x"}',
    "\ufeff{}",
    '{"checkpoint": "a", "images": "b", "size": [1e1, 2]}',
    " " * 2_000_000,
]
PAIRS = ["conf", "size", "batch_size", "checkpoint", "rectangular", "cnof", "device", "exp"]


@st.composite
def configs(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """The bytes of a configuration, and overrides from the command line."""
    kind = draw(st.sampled_from(["mutated", "mutated", "mutated", "text", "bytes", "random"]))
    pairs = [
        text
        for _ in range(draw(st.integers(0, 2)))
        for text in (draw(st.sampled_from(PAIRS)), str(draw(st.sampled_from(VALUES))))
    ]
    if kind == "text":
        return draw(st.sampled_from(TEXTS)).encode(), pairs
    if kind == "random":
        return draw(st.binary(max_size=60)), pairs
    _, content = draw(mutations(GOOD))
    data = bytearray(json.dumps(content).encode())
    if kind == "bytes":
        for _ in range(draw(st.integers(1, 4))):
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data), pairs


def check(folder: Path, data: bytes, pairs: list[str]) -> bool:
    """Whether a configuration is taken. Any other error than UsageError is a fault."""
    path = folder / "config.json"
    path.write_bytes(data)
    try:
        load_config(path, pairs)
    except UsageError as error:
        require_one_line(error)
        return False
    return True
