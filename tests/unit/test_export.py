"""Graphs outside PyTorch compute what the model computes, and say what they are."""

import json

import numpy as np
import onnx
import pytest
import torch

from tests.tiny_models import SIZE, noise, spread_statistics, tiny_model
from yolox.backends import ModelInfo, TorchBackend
from yolox.backends.onnx_runtime import OnnxRuntimeBackend
from yolox.backends.open_vino import OpenVinoBackend
from yolox.config import EvalSpec
from yolox.errors import ExportError, ModelError, UsageError
from yolox.eval.predict import detect
from yolox.export.calibration import drawn_images
from yolox.export.graph_size import graph_size
from yolox.export.onnx_graph import GraphSpec, save_onnx, to_onnx
from yolox.export.parity import TOLERANCES, Parity, compare, require_ap, require_parity
from yolox.export.quantize import convert_to_vino
from yolox.families.centernet import CenterNetSpec
from yolox.families.efficientdet import EfficientDetSpec
from yolox.models.complexity import complexity
from yolox.models.fuse import fuse


class Cells(torch.nn.Module):
    """Stands in for a detector where only what surrounds the network matters."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 32, stride=32)

    def forward(self, images):
        return self.conv(images).flatten(2).transpose(1, 2)


def _saved(model, info, graph, path):
    save_onnx(to_onnx(model, info, graph), path)
    return path


@pytest.fixture(scope="module")
def p5():
    return tiny_model()


@pytest.fixture(scope="module")
def dynamic_file(p5, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "dynamic.onnx"
    return _saved(*p5, GraphSpec(SIZE, dynamic=True), path)


@pytest.mark.parametrize(
    ("name", "size"),
    [("p6", (64, 128)), pytest.param("depthwise", SIZE, marks=pytest.mark.slow)],
    ids=["p6", "depthwise"],
)
def test_static_graph(name, size, tmp_path):
    model, info = tiny_model(name)
    path = _saved(model, info, GraphSpec(size), tmp_path / "m.onnx")
    images = noise(1, size)
    reference = TorchBackend(model, info)(images)
    for backend in (OnnxRuntimeBackend(path), OpenVinoBackend(path)):
        torch.testing.assert_close(backend(images), reference, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("kind", [OnnxRuntimeBackend, OpenVinoBackend])
def test_dynamic_graph_takes_any_batch_and_size(p5, dynamic_file, kind):
    backend = kind(dynamic_file)
    for batch, size in ((1, (32, 32)), (3, (64, 96)), (2, (128, 32))):
        images = noise(batch, size)
        reference = TorchBackend(*p5)(images)
        torch.testing.assert_close(backend(images), reference, atol=1e-3, rtol=1e-4)


def test_raw_graph_is_decoded_outside(p5, tmp_path):
    path = _saved(*p5, GraphSpec(SIZE, decode=False, dynamic_batch=True), tmp_path / "m.onnx")
    images = noise(2, SIZE)
    backend = OnnxRuntimeBackend(path)
    assert backend.info.output == "raw"
    reference = TorchBackend(*p5)(images)
    torch.testing.assert_close(backend(images), reference, atol=1e-3, rtol=1e-4)
    assert "Exp" not in {node.op_type for node in onnx.load(path).graph.node}


def test_fixed_batch_runs_any_number_of_images(p5, tmp_path):
    path = _saved(*p5, GraphSpec(SIZE, batch=2), tmp_path / "m.onnx")
    images = noise(5, SIZE)
    reference = TorchBackend(*p5)(images)
    for backend in (OnnxRuntimeBackend(path), OpenVinoBackend(path)):
        torch.testing.assert_close(backend(images), reference, atol=1e-3, rtol=1e-4)


NMS = {
    "best class": EvalSpec(0.2, 0.5, max_detections=20),
    "every class": EvalSpec(0.2, 0.5, multi_class=True, max_detections=20),
    "over classes": EvalSpec(0.2, 0.5, class_agnostic=True, max_detections=20),
    "nothing found": EvalSpec(0.999, 0.5, max_detections=20),
    "few candidates": EvalSpec(0.2, 0.5, multi_class=True, max_candidates=30, max_detections=20),
    "few best classes": EvalSpec(0.2, 0.5, max_candidates=15, max_detections=20),
    "more room than points": EvalSpec(0.2, 0.5, max_detections=2000),
}


@pytest.mark.parametrize("spec", NMS.values(), ids=NMS.keys())
def test_nms_in_the_graph_equals_ours(p5, tmp_path, spec):
    path = _saved(*p5, GraphSpec(SIZE, dynamic_batch=True, nms=spec), tmp_path / "m.onnx")
    images = noise(2, SIZE, seed=3)
    torch_backend = TorchBackend(*p5)
    expected = detect(torch_backend(images), torch_backend, spec)
    for backend in (OnnxRuntimeBackend(path), OpenVinoBackend(path)):
        output = backend(images)
        assert output.shape == (2, spec.max_detections, 6)
        found = detect(output, backend, spec)
        for one, other in zip(found, expected, strict=True):
            assert len(one) == len(other)
            np.testing.assert_allclose(one[:, :4], other[:, :4], atol=1e-2)
            np.testing.assert_allclose(one[:, 4], other[:, 4] * other[:, 5], atol=1e-4)
            assert torch.equal(one[:, 6], other[:, 6])
    assert (spec.conf > 0.9) == (len(expected[0]) == 0)


def test_nms_that_no_operator_does():
    """It is refused before anything is traced or calibrated."""
    with pytest.raises(UsageError, match="cannot do soft_nms"):
        GraphSpec(SIZE, nms=EvalSpec(soft_nms=True, max_detections=9))
    both = EvalSpec(class_agnostic=True, multi_class=True, max_detections=9)
    with pytest.raises(UsageError, match="either class-agnostic or multi-class"):
        GraphSpec(SIZE, nms=both)


def test_half_graph_is_half_the_size_and_near(p5, tmp_path, dynamic_file):
    path = _saved(*p5, GraphSpec(SIZE, half=True), tmp_path / "m.onnx")
    assert path.stat().st_size < 0.75 * dynamic_file.stat().st_size
    found = compare(TorchBackend(*p5), OnnxRuntimeBackend(path), noise(2, SIZE), EvalSpec())
    require_parity(found, TOLERANCES["fp16"])
    assert found.score > 0


def test_metadata_tells_the_runtime_everything(p5, dynamic_file, tmp_path):
    stated = {item.key: item.value for item in onnx.load(dynamic_file).metadata_props}
    assert json.loads(stated["yolox.class_names"]) == ["a", "b", "c"]
    assert json.loads(stated["yolox.preprocessing"])["channels"] == "BGR"
    info = OnnxRuntimeBackend(dynamic_file).info
    assert info == GraphSpec(SIZE, dynamic=True).describe(p5[1])
    assert (info.size_hw, info.batch, info.category_ids) == (None, None, (1, 2, 7))
    graph = GraphSpec(SIZE, dynamic_batch=True, nms=EvalSpec(0.3, 0.6, max_detections=100))
    path = _saved(*p5, graph, tmp_path / "m.onnx")
    info = OnnxRuntimeBackend(path).info
    assert (info.size_hw, info.batch, info.output) == (SIZE, None, "detections")
    assert info.nms["conf"] == 0.3
    assert info.nms["iou"] == 0.6


def test_openvino_file_keeps_metadata(p5, tmp_path):
    graph = GraphSpec(SIZE, batch=2)
    path = tmp_path / "m.xml"
    convert_to_vino(to_onnx(*p5, graph), graph.describe(p5[1]), path)
    backend = OpenVinoBackend(path)
    assert backend.info == graph.describe(p5[1])
    assert (backend.info.size_hw, backend.info.batch) == (SIZE, 2)
    images = noise(2, SIZE)
    torch.testing.assert_close(backend(images), TorchBackend(*p5)(images), atol=1e-3, rtol=1e-4)


def test_no_path_of_this_machine_in_the_file(dynamic_file):
    content = dynamic_file.read_bytes()
    assert b"site-packages" not in content
    assert b"yolox/models" not in content


def test_size_of_a_graph_is_that_of_the_model(p5, dynamic_file):
    counted, source = graph_size(dynamic_file, SIZE), complexity(p5[0], SIZE)
    assert counted.params == source.params
    assert counted.nonzero == source.nonzero
    assert counted.macs == pytest.approx(source.macs, rel=0.02)  # thop counts pooling, too


def test_input_and_output_names(p5, tmp_path):
    graph = GraphSpec(SIZE, input_name="pixels", output_name="boxes")
    content = to_onnx(Cells(), p5[1], graph)
    assert [value.name for value in content.graph.input] == ["pixels"]
    assert [value.name for value in content.graph.output] == ["boxes"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch": 0}, "batch size 0"),
        ({"opset": 11}, "opset 11 is not in 18"),
        ({"input_name": "x", "output_name": "x"}, "both named 'x'"),
    ],
)
def test_impossible_graphs(values, message):
    with pytest.raises(ValueError, match=message):
        GraphSpec(SIZE, **values)


def test_size_must_fit_the_strides(p5, dynamic_file):
    with pytest.raises(UsageError, match="size 64 x 100 is not a multiple of 32"):
        to_onnx(*p5, GraphSpec((64, 100)))
    with pytest.raises(UsageError, match="size 50 x 64 is not a multiple of 32"):
        OnnxRuntimeBackend(dynamic_file)(noise(1, (50, 64)))


def test_files_that_are_no_detectors(tmp_path):
    text = tmp_path / "text.onnx"
    text.write_text("nothing")
    other = tmp_path / "other.onnx"
    graph = onnx.parser.parse_graph("g (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }")
    onnx.save(onnx.helper.make_model(graph, ir_version=10), other)
    for kind in (OnnxRuntimeBackend, OpenVinoBackend):
        with pytest.raises(ModelError, match=r"text\.onnx cannot be"):
            kind(text)
        with pytest.raises(ModelError, match=r"other\.onnx is not a detector"):
            kind(other)
        with pytest.raises(ModelError, match=r"absent\.onnx does not exist"):
            kind(tmp_path / "absent.onnx")


def test_parity_notices_changed_weights(p5, tmp_path):
    model, info = p5
    changed = fuse(model)
    with torch.no_grad():
        for layer in changed.head.obj_preds:
            layer.weight.mul_(1.05)
    exported = OnnxRuntimeBackend(_saved(*p5, GraphSpec(SIZE), tmp_path / "m.onnx"))
    found = compare(TorchBackend(changed, info), exported, noise(2, SIZE), EvalSpec())
    with pytest.raises(ExportError, match="scores differ by"):
        require_parity(found, TOLERANCES["fp32"])


def test_parity_with_nms_counts_lost_detections(p5, tmp_path):
    spec = EvalSpec(0.2, 0.5, max_detections=5)
    path = _saved(*p5, GraphSpec(SIZE, nms=spec), tmp_path / "m.onnx")
    more = EvalSpec(0.2, 0.5, max_detections=10)
    reference, exported = TorchBackend(*p5), OnnxRuntimeBackend(path)
    assert compare(reference, exported, noise(2, SIZE), spec).lost == 0
    found = compare(reference, exported, noise(2, SIZE), more)
    assert found.lost > 0
    with pytest.raises(ExportError, match="share of detections without a counterpart"):
        require_parity(found, TOLERANCES["fp32"])


def test_parity_notices_surplus_detections_and_swapped_classes(p5, tmp_path):
    spec = EvalSpec(0.2, 0.05, max_detections=500)
    nothing = EvalSpec(0.2, 1.0, max_detections=500)  # suppresses nothing
    path = _saved(*p5, GraphSpec(SIZE, nms=nothing), tmp_path / "m.onnx")
    found = compare(TorchBackend(*p5), OnnxRuntimeBackend(path), noise(2, SIZE), spec)
    assert found.lost > 0.02
    model, info = p5
    swapped = fuse(model)
    with torch.no_grad():
        for layer in swapped.head.cls_preds:
            layer.weight.copy_(layer.weight.flip(0))
            layer.bias.copy_(layer.bias.flip(0))
    exported = OnnxRuntimeBackend(_saved(*p5, GraphSpec(SIZE), tmp_path / "n.onnx"))
    found = compare(TorchBackend(swapped, info), exported, noise(2, SIZE), EvalSpec())
    with pytest.raises(ExportError, match="scores differ by"):
        require_parity(found, TOLERANCES["fp32"])


def test_parity_of_nothing_is_no_parity():
    with pytest.raises(ExportError, match="neither model detects anything"):
        require_parity(Parity(3, 0.0, 0.0, 0.0, 0), TOLERANCES["fp32"])


def test_ap_gate():
    require_ap(0.3, 0.3004, 0.001)
    for value in (0.297, float("nan")):
        with pytest.raises(ExportError, match="AP"):
            require_ap(0.3, value, 0.001)
    with pytest.raises(ExportError):
        require_parity(Parity(1, float("nan"), 0.0, 0.0, 5), TOLERANCES["fp32"])


def test_drawn_images_are_pictures():
    images = drawn_images((64, 96), 3)
    assert images.shape == (3, 3, 64, 96)
    assert images.float().std() > 10
    assert not torch.equal(images[0], images[1])


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(CenterNetSpec(num_classes=3, backbone="mobilenet_v2"), marks=pytest.mark.slow),
        pytest.param(
            EfficientDetSpec(num_classes=3, pyramid_cells=1, head_repeats=1), marks=pytest.mark.slow
        ),
    ],
    ids=["centernet", "efficientdet"],
)
def test_other_families_take_any_batch(spec, tmp_path):
    """At the smallest size, where the coarsest map is one cell."""
    torch.manual_seed(0)
    model, size = spec.build().eval(), (spec.divisor, spec.divisor)
    spread_statistics(model)
    info = ModelInfo(3, spec.divisor, family=spec.family, strides=model.strides)
    path = _saved(model, info, GraphSpec(size, dynamic_batch=True), tmp_path / "m.onnx")
    for count in (1, 3):
        images = noise(count, size)
        with torch.no_grad():
            wanted = model(images)
        found = OnnxRuntimeBackend(path)(images)
        torch.testing.assert_close(found.sum(1), wanted.sum(1), rtol=1e-3, atol=1e-2)


def test_a_length_that_became_a_constant_is_noticed():
    class Counting(Cells):
        def forward(self, images):
            return super().forward(images) * len(images)

    with pytest.raises(ExportError, match="for any batch: it takes 2 only"):
        to_onnx(Counting(), ModelInfo(3, 32), GraphSpec(SIZE, dynamic_batch=True))
