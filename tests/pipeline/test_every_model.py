"""Every shipped model, static and dynamic, in ONNX Runtime: the same predictions as in PyTorch."""

import gc

import pytest
import torch

from tests.tiny_models import spread_scores
from yolox.backends import ModelInfo, TorchBackend
from yolox.backends.onnx_runtime import OnnxRuntimeBackend
from yolox.exp import get_exp
from yolox.export.calibration import drawn_images
from yolox.export.onnx_graph import GraphSpec, save_onnx, to_onnx
from yolox.export.parity import TOLERANCES, compare, require_parity
from yolox.models.fuse import fuse

pytestmark = pytest.mark.slow

NAMES = [f"yolox-{n}" for n in ("nano", "tiny", "s", "m", "l", "x", "s-p6", "m-p6", "l-p6", "x-p6")]
NAMES += ["yolov3"]
SIZE = (128, 192)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_loaded_back_and_compared(name, dynamic, tmp_path):
    torch.manual_seed(0)
    exp = get_exp(exp_name=name)
    spec = exp.detector_spec()
    info = ModelInfo(spec.num_classes, spec.divisor)
    model = exp.get_model()
    spread_scores(model)
    model = fuse(model)
    path = tmp_path / "m.onnx"
    save_onnx(to_onnx(model, info, GraphSpec(SIZE, dynamic=dynamic)), path)
    exported = OnnxRuntimeBackend(path)
    reference = TorchBackend(model, info)
    for size in [SIZE, (64, 128)] if dynamic else [SIZE]:
        found = compare(reference, exported, drawn_images(size, 2), exp.eval_spec())
        require_parity(found, TOLERANCES["fp32"])
    del model, reference, exported
    gc.collect()
