"""The documentation names files that exist, and its picture is that of its table."""

import re
from pathlib import Path

import pytest

from yolox.exp import get_exp

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MADE = (
    "YOLOX_outputs",
    "datasets/mine",
    "datasets/demo",
    "datasets/VOCdevkit",
    "datasets/NAME",
    "weights/yolox",
)
FOLDERS = (
    "benchmarks",
    "compress",
    "configs",
    "datasets",
    "demo",
    "docs",
    "exps",
    "tests",
    "tools",
    "weights",
    "yolox",
)


def _anchor(heading):
    words = re.sub(r"[^\w\- ]", "", heading.lower().strip())
    return words.replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(_anchor, headings), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(rf"(?<![\w/.])(?:{'|'.join(FOLDERS)})/[\w./-]*\w", text)
    assert [
        name
        for name in named
        if not name.startswith(MADE)
        and "NAME" not in name
        and not (ROOT / name).exists()
        and not name.endswith((".onnx", "node_modules"))
        and "node_modules/" not in name
    ] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_the_picture_is_that_of_the_table():
    source = {"__file__": str(ROOT / "docs" / "pictures" / "demo.py"), "__name__": "demo"}
    exec((ROOT / "docs" / "pictures" / "demo.py").read_text(encoding="utf-8"), source)
    drawn = source["draw"]((ROOT / "README.md").read_text(encoding="utf-8"))
    assert drawn == (ROOT / "docs" / "pictures" / "demo.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["heatmap", "anchors"])
def test_the_examples_of_families_are_experiments(name):
    exp = get_exp(str(ROOT / "tests" / "families" / f"{name}.py"))
    exp.validate()
    assert exp.get_model().divisor == exp.detector_spec().divisor
