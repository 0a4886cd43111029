"""The recipes of docs/deploy.md, as they stand there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from yolox.cli.common import run
from yolox.cli.export import main as export_main

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")


def _recipe(heading, language):
    section = TEXT.split(f"## {heading}")[1].split("\n## ")[0]
    return re.search(rf"```{language}\n(.*?)```", section, re.DOTALL).group(1)


def test_python_recipe_runs(ckpt, tmp_path, synthetic_dir):
    words = ["--output-name", str(tmp_path / "yolox.onnx"), "--nms", "--conf", "0.00001"]
    assert run(export_main, ["-c", str(ckpt), *words]) == 0
    picture = cv2.imread(str(min((synthetic_dir / "val2017").iterdir())))
    cv2.imwrite(str(tmp_path / "street.jpg"), picture)
    (tmp_path / "recipe.py").write_text(_recipe("Python, ONNX Runtime alone", "python"))
    done = subprocess.run(
        [sys.executable, "recipe.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 0


@pytest.mark.slow
def test_openvino_cpp_recipe_compiles_and_runs(ckpt, tmp_path):
    import openvino

    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("no C++ compiler or cmake")
    model = tmp_path / "yolox.onnx"
    assert run(export_main, ["-c", str(ckpt), "--output-name", str(model)]) == 0
    (tmp_path / "main.cpp").write_text(_recipe("OpenVINO, C++", "cpp"))
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(recipe CXX)\nset(CMAKE_CXX_STANDARD 17)\n"
        "find_package(OpenVINO REQUIRED)\nadd_executable(recipe main.cpp)\n"
        "target_link_libraries(recipe openvino::runtime)\n"
    )
    package = Path(openvino.__path__[0]) / "cmake"
    configure = ["cmake", "-B", "build", f"-DOpenVINO_DIR={package}", "."]
    for command in (configure, ["cmake", "--build", "build"], ["build/recipe", str(model)]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "[1,84,13]" in done.stdout
