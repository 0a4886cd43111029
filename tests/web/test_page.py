"""The page of demo/web in headless Chromium: the same detections as ONNX Runtime in Python."""

import json
import os
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.web

WEB = ROOT / "demo" / "web"
PICTURE = "000000000139.jpg"
SHOWN = 0.3
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def server():
    if not (WEB / "node_modules").is_dir():
        pytest.fail(f"{WEB} has no node_modules: run `make check-web`")
    sys.path.insert(0, str(WEB))
    from serve import make_server

    with make_server(0) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_address[1]}"
        found.shutdown()


@pytest.fixture(scope="module")
def model(samples_dir):
    from yolox.cli.export import main

    path = WEB / "model.onnx"
    weights = str(samples_dir / "weights" / "yolox_nano.pth")
    data = str(samples_dir / "coco128" / "val2017")
    assert (
        main(
            [
                "-n",
                "yolox-nano",
                "-c",
                weights,
                "--output-name",
                str(path),
                "--nms",
                "--conf",
                "0.05",
                "--images",
                data,
            ]
        )
        == 0
    )
    return path


@pytest.fixture
def page(server):
    from playwright.sync_api import sync_playwright

    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")
    if not executable:
        pytest.fail("no Chromium: install the package chromium, or name it in CHROMIUM")
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        opened = browser.new_page(viewport={"width": 1000, "height": 900})
        yield opened
        browser.close()


def test_finds_what_python_finds(server, model, page, samples_dir):
    picture = _some_picture(samples_dir)
    page.goto(f"{server}/index.html")
    page.wait_for_selector("body[data-state=ready]", timeout=60_000)
    page.set_input_files("#file", str(picture))
    page.wait_for_selector("body[data-state=done]", timeout=60_000)
    found = [
        d for d in json.loads(page.evaluate("JSON.stringify(detections)")) if d["score"] > SHOWN
    ]
    expected = _expected(model, picture)
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one["label"] == other[5]
        np.testing.assert_allclose(one["score"], other[4], atol=0.02)
        np.testing.assert_allclose(one["box"], other[:4], atol=3)
    assert f"{len(found)} objects" in page.inner_text("#status")
    target = Path(os.environ.get("SCREENSHOT", ROOT / "YOLOX_outputs" / "web.png"))
    target.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(target), full_page=True)


def test_says_what_is_wrong(server, page, tmp_path):
    page.goto(f"{server}/index.html?model=absent.onnx")
    page.wait_for_selector("body[data-state=error]")
    assert "absent.onnx: 404" in page.inner_text("#status")
    page.goto(f"{server}/index.html?model=index.html")
    page.wait_for_selector("body[data-state=error]")
    assert "The model cannot be used" in page.inner_text("#status")


def test_a_file_that_is_no_picture(server, model, page, tmp_path):
    wrong = tmp_path / "notes.jpg"
    wrong.write_text("not a picture")
    page.goto(f"{server}/index.html")
    page.wait_for_selector("body[data-state=ready]", timeout=60_000)
    page.set_input_files("#file", str(wrong))
    page.wait_for_selector("body[data-state=error]")
    assert "cannot be used" in page.inner_text("#status")


def _some_picture(samples_dir: Path) -> Path:
    folder = samples_dir / "coco128" / "val2017"
    named = folder / PICTURE
    return named if named.is_file() else min(folder.glob("*.jpg"))


def _expected(model: Path, picture: Path) -> np.ndarray:
    """Rows x1, y1, x2, y2, score, class by ONNX Runtime on the image as OpenCV reads it."""
    import torch

    from yolox.backends.onnx_runtime import OnnxRuntimeBackend
    from yolox.data.augment import letterbox
    from yolox.data.image import read_image

    backend = OnnxRuntimeBackend(model)
    canvas, ratio = letterbox(read_image(picture), backend.info.size_hw)
    rows = backend(torch.from_numpy(canvas.transpose(2, 0, 1).copy())[None])[0].numpy()
    rows = rows[rows[:, 4] > SHOWN]
    rows[:, :4] /= ratio
    return rows
