"""Backends from checkpoints and files, and what they refuse."""

import gc
import signal

import pytest
import torch

from tests.tiny_models import SIZE, noise, tiny_model
from yolox.backends import ModelInfo, TorchBackend
from yolox.backends.base import in_batches, require_extra
from yolox.backends.onnx_runtime import OnnxRuntimeBackend
from yolox.backends.open_vino import shared_core
from yolox.engine import checkpoint
from yolox.errors import ModelError, UsageError
from yolox.export.onnx_graph import GraphSpec, save_onnx, to_onnx
from yolox.export.open import Runtime, open_model
from yolox.families import build, spec_to_dict
from yolox.families.yolox import YoloxSpec

SPEC = YoloxSpec(num_classes=3, depth=0.33, width=0.125)


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory):
    path = tmp_path_factory.mktemp("ckpt") / "m.pth"
    torch.manual_seed(0)
    checkpoint.save(path, {"model": build(SPEC).state_dict(), "spec": spec_to_dict(SPEC)})
    return path


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "m.onnx"
    save_onnx(to_onnx(*tiny_model(), GraphSpec(SIZE)), path)
    return path


@pytest.mark.parametrize("name", ["torch", "onnxruntime", "openvino"])
def test_a_checkpoint_runs_everywhere(ckpt, name):
    images = noise(2, SIZE)
    reference = open_model(ckpt, Runtime(), SIZE).backend(images)
    opened = open_model(ckpt, Runtime(name), SIZE)
    assert opened.backend.name == name
    assert opened.backend.info.class_names == ("class 0", "class 1", "class 2")
    torch.testing.assert_close(opened.backend(images), reference, atol=1e-3, rtol=1e-4)


@pytest.mark.slow
def test_compiled_equals_eager(ckpt):
    images = noise(2, SIZE)
    reference = open_model(ckpt, Runtime(), SIZE).backend(images)
    compiled = open_model(ckpt, Runtime("compile"), SIZE).backend
    torch.testing.assert_close(compiled(images), reference, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_bf16_is_near(ckpt, name):
    images = noise(1, SIZE)
    reference = open_model(ckpt, Runtime(), SIZE).backend(images)
    try:
        backend = open_model(ckpt, Runtime(name, "bf16"), SIZE).backend
    except UsageError as error:  # a processor without it: said, not computed in another precision
        said = str(error)
        able = shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    else:
        said, able = "", ()
    if said:
        assert "computes in f32 here, not in bf16" in said
        assert "BF16" not in able
        return
    assert backend.precision == "bf16"
    found = backend(images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[..., 4:], reference[..., 4:], atol=0.05, rtol=0.05)
    assert not torch.equal(found, reference)


def test_half_precision_leaves_the_model_alone(ckpt):
    model, info = tiny_model()
    TorchBackend(model, info, precision="bf16")
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_channels_last_is_the_default_on_the_cpu_and_changes_nothing():
    model, info = tiny_model()
    images = noise(1, SIZE)
    last = TorchBackend(model, info)
    first = TorchBackend(model, info, channels_last=False)
    torch.testing.assert_close(last(images), first(images), atol=1e-3, rtol=1e-4)
    backend = TorchBackend(tiny_model()[0], info)
    weight = backend._model.head.stems[0].conv.weight
    assert backend._layout is torch.channels_last
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_batches_are_filled_up():
    seen = []

    def call(images):
        seen.append(len(images))
        return images.sum(dim=(1, 2, 3))

    images = noise(5, (2, 2)).float()
    found = in_batches(call, images, 2)
    assert seen == [2, 2, 2]
    torch.testing.assert_close(found, images.sum(dim=(1, 2, 3)))


def test_missing_package_names_the_extra(monkeypatch, onnx_file):
    def absent(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("yolox.backends.base.import_module", absent)
    with pytest.raises(UsageError, match=r"onnxruntime.*pip install -e '\.\[onnxruntime\]'"):
        OnnxRuntimeBackend(onnx_file)
    with pytest.raises(UsageError, match="needs the package onnxruntime"):
        require_extra("onnxruntime.quantization", "onnxruntime")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backend": "onnxruntme"}, "did you mean 'onnxruntime'"),
        ({"precision": "int4"}, "precision 'int4' is none of"),
        ({"threads": -1}, "--threads -1"),
    ],
)
def test_unknown_runtimes(values, message):
    with pytest.raises(UsageError, match=message):
        Runtime(**values)


def test_what_does_not_go_together(ckpt, onnx_file):
    for runtime, message in (
        (Runtime("onnxruntime", "int8"), "int8 needs a quantised file"),
        (Runtime("onnxruntime", "bf16"), "no bf16"),
        (Runtime("torch", "int8"), "precision 'int8' of the torch backend"),
    ):
        with pytest.raises(UsageError, match=message):
            open_model(ckpt, runtime, SIZE)
    with pytest.raises(UsageError, match="backend torch cannot run"):
        open_model(onnx_file, Runtime("torch"), SIZE)
    with pytest.raises(UsageError, match=r"is fp32: export it in fp16"):
        open_model(onnx_file, Runtime(precision="fp16"), SIZE)
    with pytest.raises(UsageError, match="has 3 classes, the experiment has 80"):
        open_model(onnx_file, Runtime(), SIZE, YoloxSpec())
    with pytest.raises(UsageError, match="provider 'NoProvider' is not there"):
        open_model(onnx_file, Runtime(provider="NoProvider"), SIZE)
    with pytest.raises(UsageError, match="not the model's fixed size 64 x 96"):
        open_model(onnx_file, Runtime(), SIZE).backend(noise(1, (64, 64)))


def test_damaged_metadata_is_named():
    good = ModelInfo(3, 32).to_metadata()
    old = {k: v for k, v in good.items() if k not in ("yolox.divisor", "yolox.family")}
    old |= {"yolox.strides": "[8, 16, 32]", "yolox.spec_hash": '"0f"'}  # of an earlier version
    found = ModelInfo.from_metadata(old, "x.onnx")
    assert found == ModelInfo(3, 32, family="yolox", strides=(8, 16, 32))
    assert ModelInfo.from_metadata(good, "x.onnx") == ModelInfo(3, 32)
    with pytest.raises(ModelError, match=r"x\.onnx: metadata is damaged"):
        ModelInfo.from_metadata({**good, "yolox.output": '"boxes"'}, "x.onnx")
    with pytest.raises(ModelError, match=r"x\.onnx: metadata is damaged"):
        ModelInfo.from_metadata({**good, "yolox.strides": "[8,"}, "x.onnx")
    with pytest.raises(ModelError, match=r"x\.onnx is not a detector"):
        ModelInfo.from_metadata({"author": "somebody"}, "x.onnx")


def test_signals_are_handled_after_models_came_and_went(ckpt):
    first = open_model(ckpt, Runtime("openvino"), SIZE).backend
    second = open_model(ckpt, Runtime("openvino"), SIZE).backend
    del first, second  # the older one goes first
    gc.collect()
    handled = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: handled.append(number))
    try:
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert handled == [signal.SIGTERM]
