"""Nothing outside a family's folder names it, but for the table of families and its experiment."""

from pathlib import Path

import pytest

import yolox
from yolox.families import FAMILIES

PACKAGE = Path(yolox.__file__).parent


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "yolox"])
def test_only_table_and_experiment_name_a_family(name):
    naming = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if name in path.read_text(encoding="utf-8").lower()
    }
    own = {path for path in naming if path.startswith(f"families/{name}/")}
    assert own
    assert naming - own == {"families/table.py", f"exp/{name}.py"}
