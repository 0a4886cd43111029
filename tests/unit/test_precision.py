"""No float64 on a device that may have none."""

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from yolox.ops.precision import to_float64

ROOT = Path(__file__).resolve().parents[2]
HELPER = ROOT / "yolox" / "ops" / "precision.py"


def direct_conversions(source):
    """Lines that convert a tensor to float64 where it is, or make one on a named device."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        values = [*node.args, *(keyword.value for keyword in node.keywords)]
        wide = any(ast.unparse(v) in ("torch.float64", "torch.double") for v in values)
        placed = any(keyword.arg == "device" for keyword in node.keywords)
        if name == "double" or (wide and (placed or name in ("to", "type"))):
            lines.append(node.lineno)
    return lines


def test_the_search_finds_what_it_looks_for():
    source = "a.double()\nb.to(torch.float64)\nc = torch.zeros(3, dtype=torch.float64, device=d)\n"
    assert direct_conversions(source + "torch.zeros(3, dtype=torch.float64)\n") == [1, 2, 3]


def test_float64_is_made_in_one_place_only():
    files = [*ROOT.glob("yolox/**/*.py"), *ROOT.glob("compress/**/*.py")]
    assert len(files) > 100
    found = {
        str(path.relative_to(ROOT)): lines
        for path in files
        if path != HELPER and (lines := direct_conversions(path.read_text()))
    }
    assert found == {}


@pytest.mark.parametrize(("device", "moved"), [("mps", True), ("cuda", False), ("cpu", False)])
def test_only_mps_goes_to_the_cpu(device, moved):
    own, other = torch.ones(2), torch.zeros(2)
    tensor = SimpleNamespace(
        device=SimpleNamespace(type=device), cpu=lambda: other, double=own.double
    )
    assert torch.equal(to_float64(tensor), (other if moved else own).double())
