"""Backbones that begin with a classifier's weights."""

import pytest
import torch
from torchvision import models

from tests.logs import logged
from yolox.engine.pretrained import load_pretrained
from yolox.errors import ModelError, UsageError
from yolox.exp import get_exp
from yolox.families.centernet import CenterNetSpec
from yolox.families.centernet.upsampled import torchvision_weights


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "efficientnet_b0"])
def test_weights_of_torchvision_fill_the_backbone(name, tmp_path):
    classifier = getattr(models, name)()
    path = tmp_path / "classifier.pth"
    torch.save(classifier.state_dict(), path)
    model = CenterNetSpec(num_classes=2, backbone=name).build()
    head = model.head["heat"].out.weight.clone()
    with logged("INFO") as lines:
        load_pretrained(model, str(path))
    assert f"pretrained backbone {path}: " in lines[-1]
    theirs = classifier.state_dict()
    own = {k.removeprefix("backbone.body."): v for k, v in model.state_dict().items()}
    same = [key for key in theirs if key in own]
    assert len(same) >= len(theirs) - 2  # all but the last layer
    assert all(torch.equal(theirs[key], own[key]) for key in same)
    assert torch.equal(model.head["heat"].out.weight, head)


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "resnet18.pth"
    torch.save(models.resnet18().state_dict(), path)
    model = CenterNetSpec(num_classes=2, backbone="mobilenet_v2").build()
    with pytest.raises(ModelError, match=r"resnet18\.pth is of another network: \d+ of \d+ keys"):
        load_pretrained(model, str(path))


def test_without_them_the_log_warns():
    """Weak results of trainings from random numbers were taken for those of the network."""
    with logged("WARNING") as lines:
        load_pretrained(CenterNetSpec(num_classes=2).build(), "")
        load_pretrained(CenterNetSpec(num_classes=2, backbone="hourglass_fire").build(), "")
        load_pretrained(get_exp(exp_name="yolox-nano").get_model(), "")
    assert len(lines) == 1
    assert "start from random numbers" in lines[0]
    assert "pretrained_backbone download" in lines[0]


def test_families_without_such_a_backbone_say_so():
    model = get_exp(exp_name="yolox-nano").get_model()
    with pytest.raises(UsageError, match="a YoloxDetector takes no pretrained backbone"):
        load_pretrained(model, "download")


def test_a_download_that_fails_is_named(monkeypatch):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline, raising=False)
    with pytest.raises(UsageError, match="pretrained weights of resnet18 cannot be had: no route"):
        torchvision_weights("resnet18")
