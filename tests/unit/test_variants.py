"""YOLOX-nano's variants: blocks by their definition, counts as published, weights taken over."""

import pytest
import torch
from torch import nn

from yolox.engine.log import set_up_log
from yolox.engine.restore import load_for_tuning
from yolox.errors import ModelError
from yolox.exp import get_exp
from yolox.families.yolox.spec import YoloxSpec
from yolox.models.blocks import ConvKind, MixedConv, mixed_sizes
from yolox.models.channels import cut_channels
from yolox.models.complexity import count_parameters, source_gflops
from yolox.models.fuse import fuse
from yolox.models.transfer import fitting

# parameters, and 10^9 operations at 416 x 416 by the authors' count
PUBLISHED = {
    "baseline": (900_459, 1.0516),
    "dwconv": (882_507, 1.0734),
    "mdconv": (900_235, 1.0548),
    "fpn_dark2": (906_091, 1.0620),
    "final": (861_659, 1.0783),
    "ghost": (848_335, 0.944),
}
NANO = {"num_classes": 3, "depth": 0.33, "width": 0.25, "depthwise": True}


def variant(name):
    return get_exp(exp_name=f"voc-nano-{name}").detector_spec().build()


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_operations_are_the_authors(name):
    model = variant(name)
    params, gflops = PUBLISHED[name]
    assert count_parameters(model) == params
    assert source_gflops(model, (416, 416)) == pytest.approx(gflops, abs=0.0025)


def test_mixed_kernels_by_their_definition():
    block = MixedConv(10, 4).eval()
    x = torch.randn(2, 10, 9, 9)
    assert mixed_sizes(10, 4) == [3, 3, 3, 1]
    norm = nn.BatchNorm2d(10, eps=1e-3).eval()
    nn.init.uniform_(norm.weight)
    nn.init.normal_(norm.running_mean)
    expected, start = [], 0
    for number, (size, part) in enumerate(zip(mixed_sizes(10, 4), block.parts, strict=True)):
        where = slice(start, start + size)
        conv = nn.Conv2d(size, size, 2 * number + 3, padding=number + 1, groups=size, bias=False)
        conv.weight.data = part.conv.weight.data
        for key in ("weight", "bias", "running_mean", "running_var"):
            getattr(part.bn, key).data = getattr(norm, key).data[where].clone()
        expected.append(conv(x[:, where]))
        start += size
    torch.testing.assert_close(block(x), nn.functional.silu(norm(torch.cat(expected, dim=1))))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dense", "KIND-SIZE"),
        ("round-3", "KIND-SIZE"),
        ("dense-x", "KIND-SIZE"),
        ("dense-4", "kernels are odd"),
        ("separable-33", "at most 31"),
        ("mixed-9", "1 and 8"),
    ],
)
def test_kinds_that_are_none(text, said):
    with pytest.raises(ValueError, match=said):
        ConvKind(text)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"head_conv": "mixed-0"}, "head_conv: 'mixed-0'"),
        ({"backbone_conv": ("dense-3", "dense-3")}, "neither one kind nor 4"),
        ({"backbone_conv": ("depth-3",)}, "backbone_conv: 'depth-3'"),
        ({"backbone_down": "mixed-2"}, "cannot make 32 channels of 16"),
        ({"backbone_conv": ("mixed-8",), "width": 0.0626}, "cannot be split"),
        ({"backbone": "ghost"}, "makes .40, 80, 160. channels, not .64, 128, 256."),
        ({"backbone": "darknet53", "neck_conv": "dense-5"}, "no such options"),
        (
            {"backbone": "ghost", "channels": (160, 320, 640), "fpn_dark2": True},
            "no options of its own",
        ),
        ({"fpn_dark2": True, "channels": (256, 500, 1024)}, "not all multiples of 64"),
        ({"width": 1e-3}, "without channels"),
    ],
)
def test_specs_that_cannot_be(values, said):
    with pytest.raises(ValueError, match=said):
        YoloxSpec(**{**NANO, **values})


def test_a_part_of_a_network_has_its_own_convolutions():
    model = YoloxSpec(**NANO, head_conv="separable-5", neck_down="dense-3").build()
    kernels = {
        name: layer.kernel_size[0]
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)
    }
    assert {k for name, k in kernels.items() if ".cls_convs" in f".{name}"} == {5}
    assert model.backbone.bu_conv1.conv.groups == 1
    assert {k for name, k in kernels.items() if ".dark3." in name} == {3}


@pytest.fixture(scope="module")
def nano():
    torch.manual_seed(1)
    return YoloxSpec(depth=0.33, width=0.25, depthwise=True).build().state_dict()


def test_a_depthwise_kernel_takes_the_separable_one_into_its_middle(nano):
    model = variant("dwconv")
    found = fitting(model, nano)
    name = "backbone.backbone.dark3.1.m.0.conv2"
    kernel = found.state[f"{name}.conv.weight"]
    assert torch.equal(kernel[:, :, 2:5, 2:5], nano[f"{name}.dconv.conv.weight"])
    assert kernel.abs().sum() == nano[f"{name}.dconv.conv.weight"].abs().sum()
    assert f"{name}.conv.weight" in found.enlarged
    assert torch.equal(found.state[f"{name}.bn.weight"], nano[f"{name}.dconv.bn.weight"])


def test_mixed_kernels_take_their_chunks(nano):
    found = fitting(variant("mdconv"), nano)
    name = "backbone.backbone.dark2.1.m.0.conv2"
    source = nano[f"{name}.dconv.conv.weight"]
    assert torch.equal(found.state[f"{name}.parts.0.conv.weight"], source[:8])
    assert torch.equal(found.state[f"{name}.parts.1.conv.weight"][:, :, 1:4, 1:4], source[8:])


def test_what_fits_is_counted_and_the_rest_starts_anew(nano, capsys):
    set_up_log()
    model = variant("final")
    untouched = model.state_dict()["backbone.dark2_path.mix.pconv.conv.weight"].clone()
    anew = load_for_tuning(model, {"model": nano}, "nano.pth", partial=True)
    said = capsys.readouterr().err
    assert "nano.pth is of another architecture: 652 of 696 tensors are taken over" in said
    assert "of 38 the kernels stand in the middle of larger ones; 44 start anew" in said
    assert len(anew) == 44
    state = model.state_dict()
    assert torch.equal(state["backbone.dark2_path.mix.pconv.conv.weight"], untouched)
    assert torch.equal(state["head.stems.0.conv.weight"], nano["head.stems.0.conv.weight"])


@pytest.mark.parametrize("partial", [False, True])
def test_what_has_nothing_in_common_is_refused(nano, partial):
    model = YoloxSpec(num_classes=20, depth=0.33, width=0.5).build()
    with pytest.raises(ModelError, match="another architecture"):
        load_for_tuning(model, {"model": nano}, "nano.pth", partial)


def test_several_outputs_of_an_input_are_cut_together():
    block = ConvKind("depthwise-3").build(4, 8, 2).eval()
    small = cut_channels(block, {"conv": {"out": [0, 1, 4, 5]}, "bn": {"out": [0, 1, 4, 5]}})
    x = torch.randn(1, 4, 8, 8)
    assert small.conv.groups == small.conv.in_channels == 2
    torch.testing.assert_close(small(x[:, [0, 2]]), block(x)[:, [0, 1, 4, 5]])
    with pytest.raises(ModelError, match="keeps some of an input's 2 outputs, not all"):
        cut_channels(block, {"conv": {"out": [0, 2, 4]}})


@pytest.mark.parametrize("name", ["final", "ghost"])
def test_all_batch_norms_can_be_folded(name):
    model = variant(name).eval()
    fused = fuse(model)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fused.modules())
    images = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        torch.testing.assert_close(fused(images), model(images), rtol=1e-3, atol=1e-3)
