"""`yolox.load`: any model file, any image, and the boxes that the commands give."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

import yolox
from tests.tiny_models import SIZE, SPECS, spread_scores, tiny_model
from yolox.cli import demo
from yolox.compress.merge import merge
from yolox.compress.steps import Storage
from yolox.config import EvalSpec
from yolox.data.draw import draw_boxes
from yolox.data.folder import find_images
from yolox.data.image import read_image
from yolox.engine import checkpoint
from yolox.errors import DataError, ModelError, UsageError
from yolox.eval.predict import PredictOptions, predict, square_batches
from yolox.exp import Exp
from yolox.export.onnx_graph import GraphSpec, save_onnx, to_onnx
from yolox.export.open import Runtime, open_model
from yolox.families import build, spec_to_dict

SPEC = SPECS["p5"]
DOCS = Path(__file__).resolve().parents[2] / "docs" / "python.md"
NAMES = ("cat", "dog", "eel")
OPTIONS = {"num_classes": 3, "depth": 0.33, "width": 0.125, "test_size": list(SIZE)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("load")


@pytest.fixture(scope="module")
def content():
    """A checkpoint's content: model, architecture, class names and experiment."""
    torch.manual_seed(0)
    model = build(SPEC)
    spread_scores(model)
    return {
        "model": model.state_dict(),
        "spec": spec_to_dict(SPEC),
        "class_names": list(NAMES),
        "exp": {"file": None, "name": None, "options": OPTIONS},
    }


@pytest.fixture(scope="module")
def ckpt(folder, content):
    checkpoint.save(folder / "best.pth", content)
    return folder / "best.pth"


@pytest.fixture(scope="module")
def picture(folder):
    """An image of noise, of another shape than the model's input."""
    path = folder / "pictures" / "street.png"
    path.parent.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(pixels, (140, 180)))
    return path


@pytest.fixture(scope="module")
def onnx_file(folder):
    model, info = tiny_model()
    save_onnx(to_onnx(model, replace(info, class_names=NAMES), GraphSpec(SIZE)), folder / "m.onnx")
    return folder / "m.onnx"


@pytest.fixture(scope="module")
def any_size(folder, onnx_file):
    """A file that says it takes any size. Only what it says is used."""
    model = onnx.load(onnx_file)
    for item in model.metadata_props:
        if item.key == "yolox.size_hw":
            item.value = "null"
    onnx.save(model, folder / "any.onnx")
    return folder / "any.onnx"


def same(one, other, atol=0.0):
    """Whether two records hold the same boxes."""
    return (
        len(one) == len(other) > 0
        and np.array_equal(one.labels, other.labels)
        and np.allclose(one.scores, other.scores, rtol=0, atol=atol)
        and np.allclose(one.boxes, other.boxes, rtol=0, atol=100 * atol)
        and one.names == other.names
    )


def test_importing_yolox_is_light():
    code = (
        "import sys, yolox; loaded = [m for m in sys.modules if m.startswith('yolox.')];"
        "assert not {'torch', 'cv2', 'numpy'} & set(sys.modules) and not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="lod"):
        _ = yolox.lod


def test_a_record_is_what_it_says(ckpt, picture):
    image = read_image(picture)
    found = yolox.load(ckpt)(picture)
    assert found.size == (180, 140)
    assert found.boxes.shape == (len(found), 4)
    assert (found.boxes.dtype, found.labels.dtype) == (np.float32, np.int64)
    assert found.scores.min() >= 0.3
    assert np.all(np.diff(found.scores) <= 0)
    assert len(set(found.labels)) > 1
    assert found.names == tuple(NAMES[label] for label in found.labels)
    first = next(iter(found))
    assert first.box == tuple(found.boxes[0])
    assert (first.score, first.label, first.name) == (
        found.scores[0],
        found.labels[0],
        found.names[0],
    )
    assert len(list(found)) == len(found)
    drawn = found.draw()
    wanted = draw_boxes(image, found.boxes, found.labels, NAMES, found.scores)
    assert np.array_equal(drawn, wanted)
    assert not np.array_equal(drawn, found.image)
    assert np.array_equal(found.image, image)


def test_paths_arrays_and_lists_give_the_same(ckpt, picture):
    detector = yolox.load(str(ckpt))
    found = detector(str(picture))
    image = read_image(picture)
    assert same(detector(image), found)
    records = detector([picture, image[:40], image])
    assert same(records[0], found)
    assert records[1].size == (40, 140)
    assert same(records[2], found)
    assert len(detector((picture,))) == 1
    assert detector([]) == []


def test_it_draws_what_the_demo_command_draws(ckpt, picture, tmp_path):
    words = ["image", "-c", str(ckpt), "--path", str(picture), "--out", str(tmp_path)]
    assert demo.main([*words, "--device", "cpu"]) == 0
    yolox.load(ckpt, device="cpu")(picture).save(tmp_path / "mine.jpg")
    assert (tmp_path / "mine.jpg").read_bytes() == (tmp_path / "street.jpg").read_bytes()


def test_it_finds_what_evaluation_finds(ckpt, picture):
    exp = Exp()
    backend = open_model(ckpt, Runtime(), SIZE).backend
    options = PredictOptions(exp.eval_spec(), progress=False)
    images = find_images(picture)
    wanted = predict(backend, images, square_batches(1, SIZE, 1), options).found[0]
    spec = {"conf": exp.test_conf, "nms": exp.nmsthre, "class_agnostic": exp.class_agnostic}
    found = yolox.load(ckpt, **spec)(picture)
    assert np.array_equal(found.boxes, wanted.boxes_xyxy.numpy())
    assert np.array_equal(found.scores, wanted.scores.numpy())
    assert np.array_equal(found.labels, wanted.labels.numpy())
    assert len(found) > len(yolox.load(ckpt)(picture)) > 0


def test_an_exported_file_in_its_backends(ckpt, onnx_file, picture):
    wanted = yolox.load(ckpt, device="cpu")(picture)
    for backend in (None, "openvino"):
        detector = yolox.load(onnx_file, backend=backend)
        assert detector.backend.name == (backend or "onnxruntime")
        assert detector.size_hw == SIZE
        assert same(detector(picture), wanted, atol=1e-4)


def test_a_merged_model(content, ckpt, picture, folder):
    model = build(SPEC)
    model.load_state_dict(content["model"])
    checkpoint.save(folder / "merged.pth", merge(content, model.eval(), Storage()))
    assert same(yolox.load(folder / "merged.pth")(picture), yolox.load(ckpt)(picture), atol=1e-4)


def test_a_checkpoint_that_names_no_experiment(content, ckpt, picture, folder):
    path = folder / "official.pth"
    torch.save({"model": content["model"]}, path)
    with pytest.raises(ModelError, match=r"official\.pth does not name .* exp_file or name"):
        yolox.load(path)
    with pytest.raises(ModelError, match=r"official\.pth is of another architecture"):
        yolox.load(path, name="yolox-nano")
    lines = [f"        self.{key} = {value}\n" for key, value in OPTIONS.items()]
    text = "    def __init__(self):\n        super().__init__()\n" + "".join(lines)
    exp_file = folder / "mine.py"
    exp_file.write_text(f"from yolox.exp import Exp as Base\n\n\nclass Exp(Base):\n{text}")
    found = yolox.load(path, exp_file=exp_file)(picture)
    assert np.array_equal(found.boxes, yolox.load(ckpt)(picture).boxes)
    assert found.class_names == ("class 0", "class 1", "class 2")


def test_options_arrive(ckpt, any_size, picture):
    detector = yolox.load(
        ckpt,
        device="cpu",
        precision="bf16",
        size=64,
        conf=0.4,
        nms=0.5,
        class_agnostic=False,
        names=["x", "y", "z"],
    )
    assert (detector.backend.device, detector.backend.precision) == ("cpu", "bf16")
    assert detector.size_hw == (64, 64)
    assert detector.spec == EvalSpec(conf=0.4, nms=0.5, class_agnostic=False)
    assert set(detector(picture).names) <= {"x", "y", "z"}
    assert yolox.load(ckpt).spec == EvalSpec(conf=0.3, nms=0.3, class_agnostic=True)
    assert yolox.load(any_size, size=(32, 64)).size_hw == (32, 64)
    assert yolox.load(any_size, size=64).class_names == NAMES


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 100}, r"size \(100, 100\) is not a multiple of 32"),
        ({"size": 0}, "size 0 is not positive"),
        ({"size": "640"}, "size '640' is not"),
        ({"conf": 2.0}, r"conf 2\.0 is not between"),
        ({"nms": "0.3"}, "nms '0.3' is not a number"),
        ({"names": ["x"]}, r"1 names, but .*best\.pth has 3 classes"),
        ({"names": "xyz"}, "names 'xyz' is not"),
        ({"backend": "onnx"}, "'onnx' is none of"),
        ({"backend": "onnxruntime", "device": "cuda"}, "device 'cuda' is for torch"),
        ({"device": "gpu"}, "device 'gpu'"),
        ({"name": "yolox-nan"}, "did you mean 'yolox-nano'"),
    ],
)
def test_wrong_options_are_named(ckpt, options, words):
    with pytest.raises(UsageError, match=words):
        yolox.load(ckpt, **options)


def test_a_size_that_an_exported_file_does_not_take(onnx_file, any_size):
    assert yolox.load(onnx_file, size=SIZE, device="cpu").size_hw == SIZE
    with pytest.raises(UsageError, match=r"'cuda' is for torch, and .*m\.onnx runs in"):
        yolox.load(onnx_file, device="cuda")
    with pytest.raises(UsageError, match=r"m\.onnx: size 64 x 64 is not the model's fixed size"):
        yolox.load(onnx_file, size=64)
    with pytest.raises(UsageError, match=r"any\.onnx takes images of any size"):
        yolox.load(any_size)
    with pytest.raises(UsageError, match=r"400,000,000 is more than"):
        yolox.load(any_size, size=20_000)
    with pytest.raises(UsageError, match=r"any\.onnx: size 33 x 64 is not a multiple of 32"):
        yolox.load(any_size, size=(33, 64))


@pytest.mark.parametrize("name", ["absent.pth", "text.pth", "absent.onnx", "text.onnx"])
def test_a_file_that_is_no_model_is_named(tmp_path, name):
    if name.startswith("text"):
        (tmp_path / name).write_text("no model")
    with pytest.raises(ModelError, match=name):
        yolox.load(tmp_path / name)


def test_what_is_no_image_is_named(ckpt, tmp_path, picture):
    detector = yolox.load(ckpt)
    (tmp_path / "text.jpg").write_text("no image")
    for path in (tmp_path / "text.jpg", tmp_path / "absent.jpg", tmp_path):
        with pytest.raises(DataError, match=path.name):
            detector([picture, path])
    for shape in ((8, 8), (8, 8, 4), (0, 8, 3)):
        with pytest.raises(DataError, match=r"image of shape \("):
            detector(np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match="float32"):
        detector(np.zeros((8, 8, 3), np.float32))
    with pytest.raises(UsageError, match="image 7 is not a path"):
        detector(7)
    with pytest.raises(UsageError, match=r"result\.doc: its ending"):
        detector(picture).save(tmp_path / "result.doc")


def test_the_code_of_the_documentation_runs(ckpt, picture, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ckpt, "best_ckpt.pth")
    image = read_image(picture)
    Path("pictures").mkdir()
    for name in ("street.jpg", "pictures/a.jpg", "pictures/b.jpg"):
        cv2.imwrite(name, image)
    video = cv2.VideoWriter("film.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 10, (140, 180))
    for _ in range(2):
        video.write(image)
    video.release()
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    exec("\n".join(blocks), {})
    assert read_image(Path("boxes.jpg")).shape == image.shape
    assert {path.name for path in Path("found").iterdir()} == {"a.jpg", "b.jpg"}
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(NAMES)
    assert all(int(line) > 0 for line in said[-2:])
