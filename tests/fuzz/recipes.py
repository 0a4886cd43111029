"""Recipes of compressions with something wrong in them."""

import json
from pathlib import Path

import yaml
from hypothesis import strategies as st

from tests.fuzz.settings import require_one_line
from tests.fuzz.values import mutations
from yolox.compress.recipe import load_recipe
from yolox.compress.recover import set_options
from yolox.errors import UsageError
from yolox.exp import Exp

GOOD = {
    "mask": {"share": 0.5, "criterion": "output", "exclude": ["head"], "pattern": "none"},
    "prune": {"params": 0.5, "macs": 0.5, "round_to": 8, "exclude": [], "rounds": 1, "images": 8},
    "adapt": {"fold": True, "ridge": 0.01, "images": 8},
    "recover": {"max_epoch": 2, "basic_lr_per_img": 0.001, "input_size": [64, 64], "ema": True},
    "merge": {"encoding": "bitmask", "values": "fp16"},
    "int8": {"runtime": "onnxruntime", "max_drop": 0.01, "images": 64},
}
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
TEXTS = [
    "",
    "null",
    "- 1",
    "mask",
    "mask: {share: 2001-99-99}",
    "mask: {share: 2001-09-09}",
    "mask: !!int ''",
    "mask: !!bool x",
    "mask: !!float x",
    "mask: !!python/object:os.system x",
    "mask: !!timestamp x",
    "mask: !!binary x",
    "mask: !!set {a}",
    "mask: {[1]: 2}",
    "{[1]: 2}",
    "? {a: b}\n: c",
    "mask: {share: " + "9" * 5000 + "}",
    "mask: {share: 0o9}",
    "mask: 1:99:99",
    "[" * 5000,
    "{a: " * 3000,
    BOMB,
    "mask: &a {share: 0.5}\nprune: *a",
    "<<: {mask: {}}",
    "\0",
    "mask: {share: .nan}",
    "mask: {share: .inf}",
    "%YAML 9",
    "--- a\n--- b",
    "mask: {share: 1_0}",
    "\ufeffmask: {}",
    "a" * 2_000_000,
]


@st.composite
def recipes(draw: st.DrawFn) -> bytes:
    """The bytes of a recipe file."""
    kind = draw(st.sampled_from(["mutated", "mutated", "mutated", "text", "random", "bytes"]))
    if kind == "text":
        return draw(st.sampled_from(TEXTS)).encode()
    if kind == "random":
        return draw(st.text(max_size=60)).encode("utf-8", "surrogatepass")
    _, content = draw(mutations(GOOD))
    text = yaml.safe_dump(content) if draw(st.booleans()) else json.dumps(content)
    if kind == "mutated":
        return text.encode()
    data = bytearray(text.encode())
    for _ in range(draw(st.integers(1, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


def check(folder: Path, data: bytes) -> bool:
    """Whether a recipe is taken. Any other error than UsageError is a fault."""
    path = folder / "recipe.yaml"
    path.write_bytes(data)
    try:
        recipe = load_recipe(path)
        exp = Exp()
        set_options(exp, recipe.recover.options if recipe.recover else {}, "recipe: recover")
        exp.validate()
    except UsageError as error:
        require_one_line(error)
        return False
    return True
