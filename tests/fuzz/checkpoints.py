"""Checkpoints of every kind that were damaged, or hold something else than they should."""

import copy
import io
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from tests.fuzz.settings import require_one_line
from tests.fuzz.values import VALUES, mutations, places
from yolox.engine import checkpoint
from yolox.engine.content_hash import content_hash
from yolox.engine.restore import restore
from yolox.errors import ModelError
from yolox.exp import exp_of_checkpoint, get_exp
from yolox.families import build, spec_to_dict
from yolox.families.yolox import YoloxSpec
from yolox.models.channels import cut_channels
from yolox.models.fuse import fuse
from yolox.ops.sparse import ENCODINGS, encode

SPEC = YoloxSpec(num_classes=3, depth=0.33, width=0.0625)
KINDS = ("dense", "masked", "pruned", *ENCODINGS, "training", "official")
TENSORS: list[Any] = [
    torch.zeros(0),
    torch.zeros(1),
    torch.ones(2, 2),
    torch.ones(3, dtype=torch.bool),
    torch.full((4,), float("nan")),
    torch.ones(2, dtype=torch.complex64),
    torch.arange(3),
    torch.ones(3).half(),
    torch.zeros(1).expand(5),
    torch.ones(3).bfloat16(),
    torch.sparse_coo_tensor(torch.zeros(2, 1).long(), torch.ones(1), (2, 2), check_invariants=True),
]
PRUNED = {  # one bottleneck that nothing else reads
    "backbone.backbone.dark2.1.m.0.conv1.conv": {"out": [0]},
    "backbone.backbone.dark2.1.m.0.conv1.bn": {"out": [0]},
    "backbone.backbone.dark2.1.m.0.conv2.conv": {"in": [0]},
}


@cache
def content_of(kind: str) -> dict[str, Any]:
    """A small checkpoint. Not to be changed."""
    torch.manual_seed(0)
    model: Any = build(SPEC)
    exp = get_exp(exp_name="yolox-nano")
    exp.num_classes, exp.depth, exp.width, exp.depthwise = 3, 0.33, 0.0625, False
    about = {
        "spec": spec_to_dict(SPEC),
        "channels": {},
        "class_names": ["a", "b", "c"],
        "category_ids": [1, 2, 3],
        "exp": exp.origin(),
    }
    if kind == "official":
        return {"start_epoch": 3, "model": model.state_dict(), "best_ap": np.float64(0.25)}
    if kind == "pruned":
        model = cut_channels(model, PRUNED)
        return {**about, "model": model.state_dict(), "channels": PRUNED}
    if kind in ENCODINGS:
        fused = fuse(model.eval()).state_dict()
        for value in fused.values():
            value[value.abs() < value.abs().mean()] = 0
        sparse = encode(fused, kind, torch.float16)
        return {**about, "sparse": sparse, "nonzero_params": 1}
    masks = {k: v.abs() > 0.01 for k, v in model.named_parameters() if v.dim() == 4}
    if kind == "masked":
        return {**about, "model": model.state_dict(), "masks": masks}
    if kind == "training":
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        state = {
            "raw_model": model.state_dict(),
            "ema_updates": 3,
            "scaler": {},
            "rng": torch.get_rng_state(),
            "step": 3,
            "steps_per_epoch": 3,
            "best_ap": 0.1,
            "optimizer_name": "sgd",
            "evaluations_without_gain": 0,
        }
        return {
            **about,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "start_epoch": 1,
            "best_ap": 0.1,
            "curr_ap": 0.1,
            "state": state,
        }
    return {**about, "model": model.state_dict()}


@cache
def file_of(kind: str) -> bytes:
    """A sound file: with a hash, but for YOLOX's."""
    content, buffer = dict(content_of(kind)), io.BytesIO()
    if kind != "official":
        content["sha256"] = content_hash(content)
    torch.save(content, buffer)
    return buffer.getvalue()


def stored(content: Any, hashed: bool) -> bytes:
    """The file of a content, sound as a file; without a hash where there can be none."""
    buffer = io.BytesIO()
    if hashed and isinstance(content, dict):
        with suppress(ValueError):
            content = {**content, "sha256": content_hash(content)}
    torch.save(content, buffer)
    return buffer.getvalue()


@st.composite
def damaged_files(draw: st.DrawFn) -> tuple[bytes, str]:
    """A file with bytes changed, and its kind."""
    kind = draw(st.sampled_from(KINDS))
    data = bytearray(file_of(kind))
    change = draw(st.sampled_from(["bit", "bit", "bytes", "zeros", "cut", "ends", "more"]))
    # Half of the changes go to the beginning or the end, where the archive describes itself.
    place = draw(
        st.one_of(st.integers(0, len(data) - 1), st.integers(0, 50_000), st.integers(-50_000, -1))
    ) % len(data)
    if change == "bit":
        data[place] ^= 1 << draw(st.integers(0, 7))
    elif change == "bytes":
        for _ in range(draw(st.integers(2, 20))):
            data[(place + draw(st.integers(0, 99))) % len(data)] = draw(st.integers(0, 255))
    elif change == "zeros":
        data[place : place + 64] = bytes(len(data[place : place + 64]))
    elif change == "cut":
        del data[place:]
    elif change == "ends":
        del data[: min(place, 64)]
    else:
        data += bytes(draw(st.integers(1, 100)))
    return bytes(data), kind


@st.composite
def wrong_contents(draw: st.DrawFn) -> bytes:
    """A sound file of a content that has something wrong in it."""
    content = content_of(draw(st.sampled_from(KINDS)))
    top = draw(st.sampled_from(list(content)))
    if draw(st.booleans()) and list(places(content[top])):
        _, part = draw(mutations(content[top], VALUES + TENSORS))
        content = {**content, top: part}
    else:
        _, content = draw(mutations({top: content[top]}, VALUES + TENSORS))
        content = {**content_of("dense"), **content}
    return stored(content, draw(st.booleans()))


@st.composite
def absurd_weights(draw: st.DrawFn) -> tuple[bytes, str]:
    """A sound file whose weights no training leaves behind."""
    kind = draw(st.sampled_from(["dense", "masked", "pruned", "official"]))
    content = copy.deepcopy(content_of(kind))
    model = content["model"]
    names = [name for name, value in model.items() if value.is_floating_point()]
    name = draw(st.sampled_from(names))
    if name.endswith("running_var") and draw(st.booleans()):
        value = -1.0
    else:
        value = draw(st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e30, -1e20]))
    flat = model[name].view(-1)
    flat[draw(st.integers(0, len(flat) - 1))] = value
    return stored(content, True), kind


def opened(path: Path, data: bytes, kind: str = "") -> dict[str, Any] | None:
    """All that a checkpoint is used for; None where it is refused with ModelError."""
    path.write_bytes(data)
    try:
        content = checkpoint.read(path)
        restore(path, SPEC if kind == "official" else None)
        if "exp" in content:
            exp_of_checkpoint(path)
    except ModelError as error:
        require_one_line(error)
        return None
    return content


def check_damaged(path: Path, data: bytes, kind: str) -> bool:
    """Whether a damaged file is taken: only where it holds what it held before."""
    path.write_bytes(data)
    try:
        content = checkpoint.read(path)
    except ModelError as error:
        require_one_line(error)
        return False
    assert content_hash(content) == content_hash(content_of(kind)), "damage went unnoticed"
    return True


def check_absurd(path: Path, data: bytes, kind: str) -> None:
    """Absurd weights are never taken."""
    assert opened(path, data, kind) is None, "absurd weights went unnoticed"
