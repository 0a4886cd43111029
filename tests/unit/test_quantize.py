"""INT8: ranges, rounding, layers, the search for float layers, and files that run."""

import numpy as np
import onnx
import pytest
import torch

from tests.tiny_models import SIZE, noise, tiny_model
from yolox.backends import TorchBackend
from yolox.backends.onnx_runtime import OnnxRuntimeBackend
from yolox.backends.open_vino import OpenVinoBackend, shared_core
from yolox.config import EvalSpec
from yolox.errors import DataError, ExportError
from yolox.export import calibration, quantize
from yolox.export.calibration import Ranges, calibration_images, one_by_one
from yolox.export.fallback import fewest, float_order, quantise_to_floor
from yolox.export.layer_damage import detection_damage, layer_damage
from yolox.export.layers import Layers, group, onnx_convolutions, onnx_layers
from yolox.export.onnx_graph import GraphSpec, to_onnx
from yolox.export.quantize import OnnxQuantizer, Quantizer, VinoQuantizer
from yolox.export.silu import silu_inputs, with_silu_as_one
from yolox.models.fake_int8 import round_int8, round_uint8


@pytest.fixture(scope="module")
def float_graph():
    model, info = tiny_model()
    graph = GraphSpec(SIZE)
    return model, graph.describe(info), to_onnx(model, info, graph)


def test_ranges_leave_out_the_rarest(monkeypatch):
    monkeypatch.setattr(calibration, "CLIPPED", 0.01)
    values = torch.linspace(-1, 3, 1001)
    ranges = Ranges()
    for part in (values[::2], values[1::2]):
        ranges.add("x", part)
    low, high = ranges.found()["x"]
    expected = values.sort().values
    rare = 2 * 5  # 1 % of 501 and of 500 values
    assert low == pytest.approx(float(expected[rare - 1]))
    assert high == pytest.approx(float(expected[-rare]))


def test_ranges_hold_zero():
    ranges = Ranges()
    ranges.add("x", torch.full((100,), 5.0))
    assert ranges.found() == {"x": (0.0, 5.0)}


def test_rounding():
    weight = torch.tensor([[1.27, -0.5], [0.0, 254.0]]).reshape(2, 2, 1, 1)
    expected = torch.tensor([[1.27, -0.5], [0.0, 254.0]]).reshape(2, 2, 1, 1)
    torch.testing.assert_close(round_int8(weight), expected)
    values = torch.tensor([-10.0, -1.0, 0.0, 0.3, 1.55, 9.0])
    found = round_uint8(values, torch.tensor(-1.0), torch.tensor(1.55))
    torch.testing.assert_close(found, torch.tensor([-1.0, -1.0, 0.0, 0.3, 1.55, 1.55]))


def test_damage_is_zero_for_equal_and_grows():
    model, info = tiny_model()
    reference = TorchBackend(model, info)(noise(1, SIZE))
    assert detection_damage(reference, reference) == pytest.approx(0.0, abs=1e-6)
    moved = reference.clone()
    moved[..., :2] += 1
    further = reference.clone()
    further[..., :2] += 2
    assert 0 < detection_damage(reference, moved) < detection_damage(reference, further)


def test_layer_damage_names_the_layer_with_an_outlier():
    model, _ = tiny_model()
    before_change = layer_damage(model, noise(4, SIZE), progress=False)
    name = "backbone.C3_p3.conv1.conv"
    layer = model.get_submodule(name)
    with torch.no_grad():
        # One huge weight on a channel that carries nothing costs the others of its row all levels.
        layer.weight[:, 0] = 1e3
        before = model.get_submodule("backbone.reduce_conv1.conv")
        before.weight[0], before.bias[0] = 0.0, 0.0
    damage = layer_damage(model, noise(4, SIZE), progress=False)
    assert damage[name] > 5 * before_change[name]
    assert list(damage.values()) == sorted(damage.values(), reverse=True)
    assert len(damage) == sum(isinstance(m, torch.nn.Conv2d) for m in model.modules())
    assert layer_damage(model, noise(4, SIZE), [name], progress=False) == {name: damage[name]}
    assert float(layer.weight.detach()[0, 0]) == 1e3  # the model is left as it was


def test_layers_of_a_small_graph():
    inputs = {
        "cut": [],
        "a": ["cut"],
        "act": ["a"],
        "b": ["act"],
        "sum": ["b", "act"],
        "out": ["sum"],
        "c": ["sum"],
    }
    found = group(inputs, {"a": "one", "b": "two", "c": "three"})
    assert found.members == {"one": ["a", "act"], "two": ["b", "sum"], "three": ["c"]}
    assert found.tail == ["out"]
    assert found.excluded(["two"]) == ["out", "b", "sum"]


def test_the_last_convolutions_may_be_left_out():
    inputs = {"a": [], "act": ["a"], "b": ["act"], "c": ["act"], "d": ["c"], "sum": ["b", "d"]}
    modules = {"a": "one", "b": "two", "c": "three", "d": "four"}
    found = group(inputs, modules, last=False)
    assert found.members == {"one": ["a", "act"], "three": ["c"]}
    assert found.tail == ["b", "d", "sum"]


def test_predictions_and_their_decoding_are_not_quantised(float_graph):
    _, _, content = float_graph
    layers = onnx_layers(content)
    kinds = {node.name: node.op_type for node in content.graph.node}
    assert "Exp" in {kinds[name] for name in layers.tail}
    modules = onnx_convolutions(content)
    left_out = {modules[name] for name in layers.tail if kinds[name] == "Conv"}
    assert left_out == {
        f"head.{kind}_preds.{level}" for kind in ("cls", "reg", "obj") for level in range(3)
    }
    assert left_out | set(layers.members) == set(modules.values())


@pytest.mark.parametrize("kind", ["onnx", pytest.param("xml", marks=pytest.mark.slow)])
def test_quantised_file_runs_and_is_smaller(float_graph, tmp_path, kind):
    model, info, content = float_graph
    images = noise(16, SIZE)
    path = tmp_path / f"q.{kind}"
    quantizer = (
        OnnxQuantizer(content, info, images, None, "output")
        if kind == "onnx"
        else VinoQuantizer(content, info, images)
    )
    quantizer.write(path, [])
    backend = OnnxRuntimeBackend(path) if kind == "onnx" else OpenVinoBackend(path)
    assert backend.precision == "int8"
    reference = TorchBackend(model, info)(images[:1])
    found = backend(images[:1])
    assert found.shape == reference.shape
    assert 0 < detection_damage(reference, found) < 0.5
    all_float = tmp_path / f"f.{kind}"
    quantizer.write(all_float, list(quantizer.layers.members))
    backend = OnnxRuntimeBackend(all_float) if kind == "onnx" else OpenVinoBackend(all_float)
    assert detection_damage(reference, backend(images[:1])) < 1e-3


def test_float_layers_keep_their_weights(float_graph, tmp_path):
    _, info, content = float_graph
    quantizer = OnnxQuantizer(content, info, noise(16, SIZE), None, "output")
    name = "backbone.C3_p3.conv1.conv"
    quantizer.write(tmp_path / "q.onnx", [name])
    kept = {i.name: i.data_type for i in onnx.load(tmp_path / "q.onnx").graph.initializer}
    assert kept[f"model.{name}.weight"] == onnx.TensorProto.FLOAT
    quantised = [k for k, v in kept.items() if k.endswith("weight_quantized")]
    assert len(quantised) == len(quantizer.layers.members) - 1


def silu_graph(extra=()):
    """x -> SiLU -> y, and whatever else reads x."""
    nodes = [
        onnx.helper.make_node("Sigmoid", ["x"], ["s"]),
        onnx.helper.make_node("Mul", ["s", "x"], ["y"]),
        *extra,
    ]
    value = onnx.helper.make_tensor_value_info
    outputs = ["y", *(name for node in extra for name in node.output)]
    graph = onnx.helper.make_graph(
        nodes,
        "silu",
        [value("x", onnx.TensorProto.FLOAT, [1, 4])],
        [value(name, onnx.TensorProto.FLOAT, [1, 4]) for name in outputs],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])


def test_what_silu_alone_reads_needs_no_range_far_below_zero():
    assert silu_inputs(silu_graph()) == {"x"}
    other = onnx.helper.make_node("Relu", ["x"], ["z"])
    assert silu_inputs(silu_graph([other])) == set()
    shown = silu_graph()
    shown.graph.output.append(shown.graph.input[0])
    assert silu_inputs(shown) == set()
    gate = onnx.helper.make_node("Mul", ["s", "s"], ["z"])
    assert silu_inputs(silu_graph([gate])) == {"x"}


def test_silu_is_one_operation_in_openvino():
    core = shared_core()
    joined = with_silu_as_one(core.read_model(silu_graph().SerializeToString(), b""))
    kinds = [node.get_type_name() for node in joined.get_ordered_ops()]
    assert "Swish" in kinds
    assert "Sigmoid" not in kinds
    assert joined.outputs[0].names == {"y"}
    x = np.array([[-7.0, -0.5, 0.25, 3.0]], np.float32)
    found = core.compile_model(joined, "CPU")([x])[0]
    np.testing.assert_allclose(found, x / (1 + np.exp(-x)), rtol=1e-5)


def test_what_silu_reads_is_cut_off_far_below_zero(float_graph, tmp_path, monkeypatch):
    monkeypatch.setattr(quantize, "LOWEST", -0.01)
    _, info, content = float_graph
    OnnxQuantizer(content, info, noise(4, SIZE), None, "output").write(tmp_path / "q.onnx", [])
    stored = onnx.load(tmp_path / "q.onnx").graph.initializer
    value = {item.name: onnx.numpy_helper.to_array(item) for item in stored}
    lowest = {
        name.removesuffix("_scale"): -float(value[name]) * int(value[zero])
        for name in value
        if (zero := name.replace("_scale", "_zero_point")) in value and value[name].ndim == 0
    }
    cut = {name: low for name, low in lowest.items() if name in silu_inputs(content)}
    assert len(cut) > 10
    assert min(cut.values()) > -0.02
    assert min(lowest.values()) < -0.1


def test_quantised_with_nms(float_graph, tmp_path):
    model, info, _ = float_graph
    content = to_onnx(model, info, GraphSpec(SIZE, output_name="decoded"))
    nms = EvalSpec(0.2, 0.5, max_detections=10)
    OnnxQuantizer(content, info, noise(16, SIZE), nms, "output").write(tmp_path / "q.onnx", [])
    backend = OnnxRuntimeBackend(tmp_path / "q.onnx")
    assert (backend.info.output, backend.precision) == ("detections", "int8")
    assert backend(noise(1, SIZE)).shape == (1, 10, 6)


@pytest.mark.parametrize("least", [0, 1, 2, 3, 5, 8, 10])
def test_fewest_is_the_least_that_holds(least):
    assert fewest(lambda count: count >= least, 10) == least


def test_fewest_of_nothing():
    assert fewest(lambda count: False, 10) is None
    assert fewest(lambda count: False, 0) is None


class _Pretended(Quantizer):
    """Writes how many layers are float."""

    suffix = ".txt"
    layers = Layers({name: [] for name in "abcd"}, [])

    def write(self, path, float_layers):
        path.write_text(" ".join(float_layers))


def test_search_keeps_the_most_sensitive_layers_float(tmp_path):
    damage = {"a": 0.5, "b": 0.2, "c": 0.1, "d": 0.0}
    target = tmp_path / "q.txt"
    ap = {0: 0.1, 1: 0.2, 2: 0.25, 3: 0.295, 4: 0.3}
    report = quantise_to_floor(
        _Pretended(), damage, target, lambda path: ap[len(path.read_text().split())], 0.3, 0.01
    )
    assert report.float_layers == {"a": 0.5, "b": 0.2, "c": 0.1}
    assert report.ap_int8 == 0.295
    assert target.read_text() == "a b c"
    assert dict(report.trail) == ap
    assert any("a  0.5000" in line for line in report.lines())


def test_layers_before_an_early_worst_one_are_float_with_it():
    damage = {"second": 0.5, "last": 0.2, "third": 0.1, "stem": 0.0}
    graph = ["unreached", "stem", "second", "third", "last"]
    assert float_order(damage, graph) == ["stem", "second", "last", "third"]


def test_a_late_worst_layer_is_float_alone():
    damage = {"e": 0.5, "a": 0.2, "b": 0.1, "c": 0.0, "d": 0.0}
    assert float_order(damage, ["a", "b", "c", "d", "e"]) == list(damage)


def test_search_that_fails_says_by_how_much(tmp_path):
    with pytest.raises(ExportError, match=r"0\.1000 AP below the float model, 0\.01 is allowed"):
        quantise_to_floor(_Pretended(), {"a": 1.0}, tmp_path / "q.txt", lambda _: 0.2, 0.3, 0.01)


def test_too_few_calibration_images(synthetic_dir):
    from yolox.data.dataset import DetectionDataset

    dataset = DetectionDataset(synthetic_dir, "instances_train2017.json", "train2017")
    with pytest.raises(DataError, match="at least 16 images, there are 12"):
        calibration_images(dataset, (64, 64), 64)


def test_one_by_one_gives_float_batches():
    images = noise(3, (32, 32))
    parts = list(one_by_one(images))
    assert [p.shape for p in parts] == [(1, 3, 32, 32)] * 3
    assert parts[1].dtype == torch.float32
