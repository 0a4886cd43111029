"""What is installed: one package, with the shipped experiments inside."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ("setup.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The content of the wheel, in a folder."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, source)
    for name in ("yolox", "exps", "compress", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    words = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "."]
    subprocess.run([sys.executable, *words, "-w", str(folder)], cwd=source, check=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "installed"
    zipfile.ZipFile(wheel).extractall(target)
    return target


def test_one_package_is_installed(installed):
    names = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert names == {"yolox"}
    assert (installed / "yolox" / "compress" / "report" / "report.html.j2").is_file()


def test_shipped_experiments_are_found_by_name(installed):
    code = (
        "from yolox.exp import get_exp\n"
        "from yolox.exp.build import EXPS_DIR, shipped_names\n"
        "print(EXPS_DIR, len(shipped_names()), get_exp(exp_name='yolox-m-p6').depth)"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(
        words,
        cwd=installed,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(installed)},
    )
    here = len(list(ROOT.glob("exps/*/*.py")))
    assert done.stdout.split() == [str(installed / "yolox" / "exps"), str(here), "0.67"]
