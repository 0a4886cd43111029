"""Compression of any module by a Python call."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2, resnet18
from torchvision.models.detection import retinanet_resnet50_fpn, ssdlite320_mobilenet_v3_large

from tests.tiny_models import spread_statistics
from yolox.compress.module import compress_module, load_module
from yolox.errors import ModelError, UsageError
from yolox.models.channels import filters
from yolox.models.pointwise import PointwiseLinear, with_pointwise_linears


class Classifier(nn.Module):
    """Two channels in, pooled, dropped, and two linear layers."""

    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(2, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(16, 24, 3, 2, 1), nn.BatchNorm2d(24), nn.ReLU())
        self.hidden, self.out = nn.Linear(24, 32), nn.Linear(32, 5)
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        pooled = self.b(self.a(x)).mean((2, 3))
        return self.out(self.drop(self.hidden(pooled).relu()))


def classifier():
    torch.manual_seed(0)
    model = Classifier().eval()
    spread_statistics(model)
    return model


def detector(build):
    torch.manual_seed(0)
    model = build(weights=None, weights_backbone=None, num_classes=4).eval()
    spread_statistics(model)
    return model


def heads(model, images):
    """What a detector of torchvision predicts before anything depends on values."""
    return model.head(list(model.backbone(images).values()))


def silenced(model, channels):
    """The original, with linear layers as convolutions and what was cut away made zero."""
    whole = with_pointwise_linears(model).eval()
    for name, sides in channels.items():
        layer = whole.get_submodule(name)
        if "out" not in sides:
            continue
        width = filters(layer).shape[0] if not isinstance(layer, nn.BatchNorm2d) else None
        gone = torch.as_tensor(
            np.setdiff1d(np.arange(width or layer.num_features), sides["out"]), dtype=torch.long
        )
        with torch.no_grad():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight[gone] = 0
            else:
                filters(layer)[gone] = 0
            if layer.bias is not None:
                layer.bias[gone] = 0
    return whole


def images(count, channels=3, side=64):
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(1))


MODELS = {
    "linear": (classifier, 2, {}),
    "resnet18": (lambda: detectable(resnet18), 3, {}),
    "mobilenet_v2": (lambda: detectable(mobilenet_v2), 3, {}),
    "ssdlite": (lambda: detector(ssdlite320_mobilenet_v3_large), 3, {"forward": heads}),
    "retinanet": (lambda: detector(retinanet_resnet50_fpn), 3, {"forward": heads}),
}


def detectable(build):
    torch.manual_seed(0)
    model = build(weights=None, num_classes=7).eval()
    spread_statistics(model)
    return model


@pytest.mark.parametrize("name", MODELS)
def test_half_of_the_macs_and_pruned_equals_masked_and_loaded(name, tmp_path):
    build, channels, how = MODELS[name]
    side = 128 if name == "retinanet" else 64
    model, batch = build(), images(1, channels, side)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = compress_module(model, batch, macs=0.5, adapted=False, round_to=2, **how)
    assert 0.3 < found.macs_left <= 0.5
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    run = how.get("forward", lambda m, x: m(x))
    path = tmp_path / "small.pth"
    found.save(path)
    loaded = load_module(path, build)
    with torch.no_grad():
        small, whole = run(found.model.eval(), batch), run(silenced(model, found.channels), batch)
        again = run(loaded, batch)
    torch.testing.assert_close(small, whole, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(again, small, rtol=0, atol=0)


def test_what_is_left_is_fitted_and_the_best_step_kept():
    model, batch = classifier(), images(32, 2, 16)
    with torch.no_grad():
        wanted = model(batch)

    def score(one):
        with torch.no_grad():
            return -float((one(batch) - wanted).square().mean())

    found = compress_module(model, batch[:1], macs=0.5, images=batch, score=score, round_to=1)
    assert found.scores["original"] == 0
    assert found.scores[found.kept] == max(v for k, v in found.scores.items() if k != "original")
    assert found.scores["least_squares"] > found.scores["cut"]
    assert found.macs_left <= 0.5
    assert "| a.0 " in found.table
    outputs = [m for m in found.model.modules() if isinstance(m, PointwiseLinear)]
    assert outputs[0].conv.in_channels < 24
    assert outputs[1].conv.out_channels == 5
    found.model.train()(batch).sum().backward()  # it can be trained


def test_batches_may_be_made_anew_each_time():
    def batches():
        yield from images(8, 2, 16).split(4)

    given = [batches, list(batches()), images(8, 2, 16)]
    kept = [
        compress_module(classifier(), images(1, 2, 16), macs=0.6, images=one, rounds=2).channels
        for one in given
    ]
    assert kept[0] == kept[1] == kept[2]


def test_a_linear_layer_as_a_convolution():
    linear = nn.Linear(6, 4)
    for shape in ((3, 6), (2, 5, 6), (6,)):
        x = torch.randn(shape)
        torch.testing.assert_close(PointwiseLinear(linear)(x), linear(x))
    assert isinstance(with_pointwise_linears(linear), PointwiseLinear)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "prune needs one of"),
        ({"macs": 1.5}, "macs 1.5 is not between"),
        ({"latency": 0.5}, "budgets in time"),
        ({"macs": 0.5, "criterion": "taylor"}, "need an experiment"),
        ({"macs": 0.5, "criterion": "mask"}, "there are none"),
        ({"macs": 0.5, "criterion": "output"}, "give images"),
        ({"macs": 0.5, "criterio": "l1"}, "criterio"),
        ({"macs": 1e-6}, "cannot be reached"),
        ({"macs": 0.5, "images": images(4, 3, 16)}, "images have the shape"),
    ],
)
def test_what_cannot_be_is_said(options, said):
    with pytest.raises(UsageError, match=said):
        compress_module(classifier(), images(1, 2, 16), **options)


def test_files_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "small.pth"
    compress_module(classifier(), images(1, 2, 16), macs=0.5).save(path)
    with pytest.raises(ModelError, match=rf"{path} does not fit what build\(\) makes"):
        load_module(path, lambda: resnet18(weights=None))
    torch.save({"model": classifier().state_dict()}, path)
    with pytest.raises(ModelError, match="was not written by"):
        load_module(path, classifier)
    with pytest.raises(UsageError, match="example has the shape"):
        compress_module(classifier(), images(1, 2, 16)[0], macs=0.5)
