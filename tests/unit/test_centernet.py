"""CenterNet-lite: sizes as published, targets and losses by their definition, peaks decoded."""

import math

import pytest
import torch
from torch import nn
from torchvision.ops import deform_conv2d

from yolox.config import EvalSpec
from yolox.errors import UsageError
from yolox.exp import get_exp
from yolox.families.centernet import CenterNetLoss, CenterNetSpec
from yolox.families.centernet.deformable import DeformableConv, by_sampling
from yolox.families.centernet.network import MOST
from yolox.families.centernet.predictions import Raw
from yolox.families.centernet.targets import gaussian_radius, gaussians, make_targets
from yolox.models.complexity import count_parameters
from yolox.ops.nms import postprocess

# parameters, and 10^9 MACs at 512 x 512 as the authors count them
PUBLISHED = {
    "r18": (14_433_001, 12.37),
    "r50": (30_676_713, 24.43),
    "hourglass104": (189_476_760, 263.4),
    "hourglass-fire": (11_545_944, 28.29),
    "hourglass-fire-light": (9_980_760, 21.87),
    "mobilenetv2": (7_436_457, 4.55),
    "efficientnet-b0": (9_220_133, 4.99),
}


def authors_gmacs(model, side):
    """Convolutions and transposed ones without biases, 2 per value of a batch norm.

    The deformable convolutions themselves are left out.
    """
    count = 0

    def add(layer, inputs, out):
        nonlocal count
        if isinstance(layer, nn.BatchNorm2d):
            count += 2 * out.numel()
        elif isinstance(layer, nn.Conv2d):
            count += layer.weight[0].numel() * out.numel()
        elif isinstance(layer, nn.ConvTranspose2d):
            count += layer.weight[0].numel() * inputs[0].numel()

    for layer in model.modules():
        layer.register_forward_hook(add)
    model.eval().raw(torch.zeros(1, 3, side, side, device="meta"))
    return count / 1e9


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_operations_are_the_authors(name):
    with torch.device("meta"):
        model = get_exp(exp_name=f"centernet-{name}").get_model()
    params, gmacs = PUBLISHED[name]
    assert count_parameters(model) == params
    assert authors_gmacs(model.to("meta"), 512) == pytest.approx(gmacs, rel=1e-3)


def moved_within(radius, height, width):
    """The smallest IoU of a box with itself when its corners move by the radius, as said for the
    three cases: both corners the same way, both inwards, both outwards."""
    area = height * width
    shifted = (height - radius) * (width - radius)
    inside = (height - 2 * radius) * (width - 2 * radius)
    outside = (height + 2 * radius) * (width + 2 * radius)
    return min(shifted / (2 * area - shifted), inside / area, area / outside)


def test_a_box_moved_within_the_radius_keeps_its_overlap():
    """What the radius is for. One published root divides by 8 what should be divided by 2: the
    radius is smaller than it might be, never larger."""
    size = torch.rand(200, 2) * 50 + 2
    radius = gaussian_radius(size[:, 0], size[:, 1])
    for (height, width), r in zip(size.tolist(), radius.tolist(), strict=True):
        assert r >= 0
        assert moved_within(r, height, width) >= 0.3 - 1e-4


def test_published_radii():
    """By the formula of CornerNet as the field has it, for a box of 10 x 20 cells."""
    h, w, o = 10.0, 20.0, 0.3
    r1 = ((h + w) - math.sqrt((h + w) ** 2 - 4 * w * h * (1 - o) / (1 + o))) / 2
    r2 = (2 * (h + w) - math.sqrt(4 * (h + w) ** 2 - 16 * (1 - o) * w * h)) / 8
    b3, c3 = -2 * o * (h + w), (o - 1) * w * h
    r3 = (b3 + math.sqrt(b3**2 - 16 * o * c3)) / (8 * o)
    found = float(gaussian_radius(torch.tensor(h), torch.tensor(w)))
    assert found == pytest.approx(min(r1, r2, r3), rel=1e-5)


def test_a_bell_by_its_formula():
    bell = gaussians(torch.tensor([[2, 1]]), torch.tensor([1.0]), (4, 6))[0]
    expected = torch.zeros(4, 6)
    for y in range(4):
        for x in range(6):
            if abs(x - 2) <= 1 and abs(y - 1) <= 1:
                expected[y, x] = math.exp(-((x - 2) ** 2 + (y - 1) ** 2) / (2 * 0.5**2))
    torch.testing.assert_close(bell, expected)


def objects(*rows):
    """[1, N + 1, 5] with a row of padding."""
    return torch.tensor([[*rows, [0, 0, 0, 0, 0]]], dtype=torch.float32)


def test_targets_of_objects():
    found = make_targets(
        objects([1, 18, 9, 40, 24], [1, 34, 9, 8, 8], [0, 18, 9, 8, 8]), 3, 4, (8, 16)
    )
    assert found.heat.shape == (1, 3, 8, 16)
    assert found.heat[0, 1, 2, 4] == 1
    assert found.heat[0, 1, 2, 8] == 1
    assert found.heat[0, 0, 2, 4] == 1
    assert int(found.peaks) == 3
    assert found.heat[0, 2].max() == 0  # padding draws nothing, of no class
    assert found.heat[0, 1].max() == 1  # where bells overlap, the higher one counts
    assert found.cell[0, :3].tolist() == [36, 40, 36]
    assert found.is_kept[0].tolist() == [False, True, True, False]  # the last of a cell
    torch.testing.assert_close(found.offset[0, 1], torch.tensor([0.5, 0.25]))
    torch.testing.assert_close(found.size[0, 0], torch.tensor([10.0, 6.0]))


def test_an_object_at_the_border_is_in_the_last_cell():
    found = make_targets(objects([0, 64, 32, 8, 8]), 1, 4, (8, 16))
    assert found.heat[0, 0, 7, 15] == 1


def raw_of(found, strength=8.0):
    """What a perfect detector would predict for targets."""
    heat = torch.where(found.heat == 1, strength, -strength)
    batch, _, height, width = heat.shape
    maps = []
    for values in (found.size, found.offset):
        flat = torch.zeros(batch, height * width, 2)
        for image in range(batch):
            kept = found.is_kept[image]
            flat[image, found.cell[image][kept]] = values[image][kept]
        maps.append(flat.transpose(1, 2).reshape(batch, 2, height, width))
    return Raw(heat, *maps)


def test_what_is_predicted_perfectly_is_found_and_costs_little():
    rows = [[1, 18, 9, 40, 24], [0, 45, 20, 12, 16]]
    spec = CenterNetSpec(num_classes=3)
    raw = raw_of(make_targets(objects(*rows), 3, spec.stride, (8, 16)))
    loss = CenterNetLoss(spec.stride)(raw, objects(*rows))
    assert loss["size_loss"] == loss["offset_loss"] == 0
    decoded = spec.build().decode(raw, (32, 64))
    exp = get_exp(exp_name="centernet-r18")
    found = postprocess(decoded, exp.eval_spec())[0]
    assert len(found) == 2
    order = found[:, -1].argsort(descending=True)
    boxes = found[order][:, :4]
    expected = torch.tensor([[-2.0, -3, 38, 21], [39, 12, 51, 28]])
    torch.testing.assert_close(boxes, expected)


def test_losses_by_their_formula():
    """Written out cell by cell."""
    torch.manual_seed(0)
    targets = torch.cat([objects([1, 18, 9, 40, 24]), objects([2, 45, 20, 12, 16])])
    raw = Raw(torch.randn(2, 3, 8, 16), torch.randn(2, 2, 8, 16), torch.randn(2, 2, 8, 16))
    found = CenterNetLoss(4)(raw, targets)
    wanted = make_targets(targets, 3, 4, (8, 16))
    heat = 0.0
    for p, y in zip(raw.heat.sigmoid().flatten(), wanted.heat.flatten(), strict=True):
        heat -= (1 - p) ** 2 * p.log() if y == 1 else (1 - y) ** 4 * p**2 * (1 - p).log()
    assert float(found["heat_loss"]) == pytest.approx(float(heat) / 2, rel=1e-4)
    size = (raw.size[0, :, 2, 4] - torch.tensor([10.0, 6])).abs().sum()
    size += (raw.size[1, :, 5, 11] - torch.tensor([3.0, 4])).abs().sum()
    assert float(found["size_loss"]) == pytest.approx(0.1 * float(size) / (2 * 2), rel=1e-5)
    offset = (raw.offset[0, :, 2, 4] - torch.tensor([0.5, 0.25])).abs().sum()
    offset += (raw.offset[1, :, 5, 11] - torch.tensor([0.25, 0.0])).abs().sum()
    assert float(found["offset_loss"]) == pytest.approx(float(offset) / (2 * 2), rel=1e-5)
    parts = [found[key] for key in ("heat_loss", "size_loss", "offset_loss")]
    assert float(found["total_loss"]) == pytest.approx(float(sum(parts)))


def test_images_without_objects_have_a_loss_and_gradients():
    raw = Raw(*(torch.randn(2, n, 8, 16, requires_grad=True) for n in (3, 2, 2)))
    found = CenterNetLoss(4)(raw, torch.zeros(2, 4, 5))
    found["total_loss"].backward()
    assert torch.isfinite(raw.heat.grad).all()
    assert found["size_loss"] == 0


def test_only_local_peaks_keep_their_probability():
    heat = torch.full((1, 2, 32, 32), -9.0)
    heat[0, 0, 4, 4], heat[0, 0, 4, 5], heat[0, 1, 4, 5] = 3.0, 2.0, 1.0
    raw = Raw(heat, torch.ones(1, 2, 32, 32), torch.zeros(1, 2, 32, 32))
    decoded = CenterNetSpec(num_classes=2).build().decode(raw, (128, 128))
    assert decoded.shape == (1, MOST, 7)
    scores = decoded[0, :, 5:]
    assert scores[:, 0].sort(descending=True).values[:2].tolist() == pytest.approx(
        [torch.tensor(3.0).sigmoid().item(), torch.tensor(-9.0).sigmoid().item()], rel=1e-4
    )
    assert float(scores[:, 1].max()) == pytest.approx(torch.tensor(1.0).sigmoid().item())


def test_the_first_predictions_of_an_untrained_detector():
    """Probability 0.1 of every class; boxes near zero."""
    model = CenterNetSpec(num_classes=4).build().eval()
    raw = model.raw(torch.rand(1, 3, 64, 64) * 255)
    assert float(raw.heat.detach().sigmoid().mean()) == pytest.approx(0.1, abs=0.05)
    assert float(raw.size.detach().abs().max()) < 0.1


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_deformable_convolutions_without_offsets_are_plain_ones(kind):
    deform = DeformableConv(3, 5)
    x = torch.randn(1, 3, 7, 9)
    offset, mask = torch.zeros(1, 18, 7, 9), torch.ones(1, 9, 7, 9)
    plain = nn.functional.conv2d(x, deform.weight, padding=1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind is torch.bfloat16):
        found = deform(x.to(kind), offset.to(kind), mask.to(kind))
    assert found.dtype == kind
    torch.testing.assert_close(found.float(), plain, rtol=2e-2, atol=2e-2)


def test_deformable_convolutions_by_sampling():
    """As on the CPU and exported: points outside of the image are zero, masks weigh."""
    deform = DeformableConv(3, 5)
    x = torch.randn(2, 3, 7, 9)
    offset, mask = torch.randn(2, 18, 7, 9) * 3, torch.rand(2, 9, 7, 9)
    for share in (mask, None):
        found = by_sampling(x, offset, share, deform.weight)
        expected = deform_conv2d(x, offset, deform.weight, padding=1, mask=share)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(deform(x, offset), found)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_classes": 0}, "num_classes"),
        ({"backbone": "resnet81"}, "resnet81"),
        ({"head_channels": 0}, "head_channels"),
    ],
)
def test_specs_that_cannot_be(options, said):
    with pytest.raises(ValueError, match=said):
        CenterNetSpec(**options)


def test_sizes_are_multiples_of_the_deepest_cell():
    for name, divisor in (("r18", 32), ("hourglass104", 128), ("hourglass-fire", 128)):
        assert get_exp(exp_name=f"centernet-{name}").detector_spec().divisor == divisor


def test_hourglasses_take_no_pretrained_backbone():
    model = CenterNetSpec(num_classes=2, backbone="hourglass_fire").build()
    with pytest.raises(UsageError, match="takes no pretrained backbone"):
        model.pretrained(None)


def test_suppression_is_none():
    spec = get_exp(exp_name="centernet-r18").eval_spec()
    assert isinstance(spec, EvalSpec)
    assert (spec.nms, spec.multi_class, spec.max_detections) == (1.0, True, 100)
