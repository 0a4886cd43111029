"""Channel groups: what the trace finds in networks of every kind, and that cutting is exact."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import mobilenet_v3_small
from torchvision.ops import DeformConv2d

from tests.tiny_models import Net, spread_scores, spread_statistics
from yolox.compress.cost import CostModel
from yolox.compress.groups import ChannelGroup, find_groups, group_table, kept_channels
from yolox.errors import ModelError
from yolox.exp import Exp, get_exp
from yolox.exp.build import shipped_names
from yolox.families.centernet import CenterNetSpec
from yolox.families.efficientdet import EfficientDetSpec
from yolox.models.channels import cut_channels, filters, is_convolution
from yolox.models.complexity import complexity
from yolox.models.fuse import fuse, is_fused
from yolox.models.trace import trace


def conv(inputs: int, outputs: int, kernel: int = 1, **options: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False, **options),
        nn.BatchNorm2d(outputs),
        nn.SiLU(inplace=True),
    )


class Residual(Net):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = conv(3, 8), conv(8, 8, 3), conv(8, 4)

    def raw(self, x):
        x = self.a(x)
        return self.out(x + self.b(x))


class Concat(Net):
    """Two branches and the pooled sum of one go side by side into two readers."""

    def __init__(self):
        super().__init__()
        self.a, self.b = conv(3, 8), conv(3, 6)
        self.pool = nn.MaxPool2d(3, 1, 1)
        self.first, self.second = conv(22, 4), conv(22, 5)

    def raw(self, x):
        a = self.a(x)
        both = torch.cat([a, self.b(x), self.pool(a)], dim=1)
        return self.first(both), self.second(both)


class Depthwise(Net):
    def __init__(self):
        super().__init__()
        self.a, self.d, self.out = conv(3, 8), conv(8, 8, 3, groups=8), conv(8, 4)

    def raw(self, x):
        return self.out(self.d(self.a(x)))


class Sliced(Net):
    """The first channels of one convolution meet all channels of another."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = conv(3, 8), conv(3, 5), conv(8, 4)

    def raw(self, x):
        a, b = self.a(x), self.b(x)
        width = b.shape[1]
        return self.out(torch.cat([a[:, :width] + b, a[:, width:]], dim=1))


class Split(Net):
    """Parts of one convolution's channels, the first of which meets another convolution; and parts
    of its rows.
    """

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = conv(3, 8), conv(3, 5), conv(8, 4)

    def raw(self, x):
        a, b = self.a(x), self.b(x)
        first, second = a.split([b.shape[1], a.shape[1] - b.shape[1]], dim=1)
        upper, lower = torch.cat([first + b, second], dim=1).chunk(2, dim=2)
        return self.out(upper + lower)


class Shared(Net):
    """One tower runs over two features, with a batch norm for each."""

    def __init__(self):
        super().__init__()
        self.a, self.b = conv(3, 6), conv(3, 6)
        self.tower = nn.Conv2d(6, 8, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(8), nn.BatchNorm2d(8)])
        self.out = nn.Conv2d(8, 2, 1)

    def raw(self, x):
        features = [self.a(x), self.b(x)]
        pairs = zip(features, self.norms, strict=True)
        return [self.out(torch.relu(norm(self.tower(f)))) for f, norm in pairs]


class Gate(Net):
    """Squeeze and excitation: a channel's gate leaves with the channel."""

    def __init__(self):
        super().__init__()
        self.a, self.out = conv(3, 8), conv(8, 4)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def raw(self, x):
        a = self.a(x)
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(a.mean((2, 3), keepdim=True)))))
        return self.out(a * gate)


class Unknown(Net):
    """Channels that go through an operation without a rule are never cut."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = conv(3, 8), conv(8, 6), conv(6, 4)

    def raw(self, x):
        return self.out(self.b(torch.cumsum(self.a(x), dim=1)))


class Up(Net):
    def __init__(self):
        super().__init__()
        self.a, self.up, self.out = conv(3, 6), nn.ConvTranspose2d(6, 8, 4, 2, 1), conv(8, 4)
        self.norm = nn.BatchNorm2d(8)

    def raw(self, x):
        return self.out(torch.relu(self.norm(self.up(self.a(x)))))


class Deformable(Net):
    """What says where to read from keeps its channels."""

    def __init__(self):
        super().__init__()
        self.a, self.out = conv(3, 8), conv(6, 4)
        self.places = nn.Conv2d(8, 18, 3, padding=1)
        self.bend, self.norm = DeformConv2d(8, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)

    def raw(self, x):
        x = self.a(x)
        return self.out(torch.relu(self.norm(self.bend(x, self.places(x)))))


class WeightedSum(Net):
    """Learnt weights, one a feature map, as in BiFPN."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = conv(3, 8), conv(3, 8), conv(8, 4)
        self.weights = nn.Parameter(torch.tensor([0.5, 1.5]))

    def raw(self, x):
        weights = torch.relu(self.weights)
        weights = weights / (weights.sum() + 1e-4)
        return self.out(weights[0] * self.a(x) + self.b(x) * weights[1])


class OneMap(Net):
    """One map of attention for all channels keeps its channel."""

    def __init__(self):
        super().__init__()
        self.a, self.map, self.out = conv(3, 8), conv(8, 1), conv(8, 4)

    def raw(self, x):
        a = self.a(x)
        return self.out(a * self.map(a))


class Levels(Net):
    """A tower and a prediction that run over levels of different size, a batch norm for each."""

    def __init__(self):
        super().__init__()
        self.a, self.down = conv(3, 6), conv(6, 6, 3, stride=2)
        self.tower = nn.Conv2d(6, 8, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(8), nn.BatchNorm2d(8)])
        self.fine, self.out = nn.Conv2d(8, 2, 1), nn.Conv2d(8, 2, 1)

    def raw(self, x):
        fine = self.a(x)
        levels = [fine, self.down(fine)]
        towers = [torch.relu(n(self.tower(f))) for f, n in zip(levels, self.norms, strict=True)]
        return [self.fine(towers[0]), self.out(towers[0]), self.out(towers[1])]


class Shuffled(Net):
    """Channels in another order, which no rule knows."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = conv(3, 8), conv(8, 6), conv(6, 4)

    def raw(self, x):
        x = self.a(x)
        x = x.reshape(len(x), 2, 4, *x.shape[2:]).transpose(1, 2).reshape(x.shape)
        return self.c(self.b(x))


def randomised(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
            module.running_mean.uniform_(-0.5, 0.5)
            module.bias.data.uniform_(-0.5, 0.5)
    return model.eval()


def members(group: ChannelGroup) -> dict[tuple[str, str], int]:
    """(layer, side) -> channels of a unit there, without batch norms."""
    return {(m.layer, m.side): m.positions.shape[1] for m in group.members if m.kind != "norm"}


def mask(model: nn.Module, groups, kept) -> None:
    """Make the scale and bias of removed channels zero: what cutting must equal."""
    for group in groups.groups:
        gone = np.setdiff1d(np.arange(group.size), kept[group.name])
        for member in group.norms:
            norm = model.get_submodule(member.layer)
            index = torch.as_tensor(member.positions[gone].ravel())
            norm.weight.data[index] = 0
            norm.bias.data[index] = 0


def half(groups) -> dict[str, list[int]]:
    rng = np.random.default_rng(0)
    return {
        g.name: sorted(rng.choice(g.size, max(g.size // 2, 1), replace=False).tolist())
        for g in groups.groups
    }


FOUND = {
    Residual: {
        "a.0": (8, {("a.0", "out"): 1, ("b.0", "in"): 1, ("b.0", "out"): 1, ("out.0", "in"): 1})
    },
    Concat: {
        "a.0": (8, {("a.0", "out"): 1, ("first.0", "in"): 2, ("second.0", "in"): 2}),
        "b.0": (6, {("b.0", "out"): 1, ("first.0", "in"): 1, ("second.0", "in"): 1}),
    },
    Depthwise: {"a.0": (8, {("a.0", "out"): 1, ("d.0", "out"): 1, ("out.0", "in"): 1})},
    Sliced: {
        "a.0": (5, {("a.0", "out"): 1, ("b.0", "out"): 1, ("out.0", "in"): 1}),
        "a.0#2": (3, {("a.0", "out"): 1, ("out.0", "in"): 1}),
    },
    Split: {
        "a.0": (5, {("a.0", "out"): 1, ("b.0", "out"): 1, ("out.0", "in"): 1}),
        "a.0#2": (3, {("a.0", "out"): 1, ("out.0", "in"): 1}),
    },
    Shared: {
        "a.0": (6, {("a.0", "out"): 1, ("b.0", "out"): 1, ("tower", "in"): 1}),
        "tower": (8, {("tower", "out"): 1, ("out", "in"): 1}),
    },
    Gate: {
        "a.0": (
            8,
            {("a.0", "out"): 1, ("squeeze", "in"): 1, ("excite", "out"): 1, ("out.0", "in"): 1},
        ),
        "squeeze": (4, {("squeeze", "out"): 1, ("excite", "in"): 1}),
    },
    Unknown: {"b.0": (6, {("b.0", "out"): 1, ("out.0", "in"): 1})},
    Deformable: {
        "a.0": (8, {("a.0", "out"): 1, ("places", "in"): 1, ("bend", "in"): 1}),
        "bend": (6, {("bend", "out"): 1, ("out.0", "in"): 1}),
    },
    WeightedSum: {"a.0": (8, {("a.0", "out"): 1, ("b.0", "out"): 1, ("out.0", "in"): 1})},
    OneMap: {"a.0": (8, {("a.0", "out"): 1, ("map.0", "in"): 1, ("out.0", "in"): 1})},
    Levels: {
        "a.0": (
            6,
            {("a.0", "out"): 1, ("down.0", "in"): 1, ("down.0", "out"): 1, ("tower", "in"): 1},
        ),
        "tower": (8, {("tower", "out"): 1, ("fine", "in"): 1, ("out", "in"): 1}),
    },
    Shuffled: {"b.0": (6, {("b.0", "out"): 1, ("c.0", "in"): 1})},
    Up: {
        "a.0": (6, {("a.0", "out"): 1, ("up", "in"): 1}),
        "up": (8, {("up", "out"): 1, ("out.0", "in"): 1}),
    },
}


@pytest.mark.parametrize("kind", FOUND)
def test_groups_of_small_networks(kind):
    groups = find_groups(randomised(kind()), (16, 16))
    assert {g.name: (g.size, members(g)) for g in groups.groups} == FOUND[kind]


@pytest.mark.parametrize("kind", [k for k in FOUND if k not in (Shared, Gate)])
def test_pruned_equals_masked_in_small_networks(kind):
    model = randomised(kind())
    groups = find_groups(model, (16, 16))
    kept = half(groups)
    small = cut_channels(model, kept_channels(groups, kept))
    image = torch.rand(2, 3, 16, 16)
    mask(model, groups, kept)
    with torch.no_grad():
        found, expected = small(image), model(image)
    torch.testing.assert_close(found, expected)


def test_layers_called_at_several_levels_come_after_all_that_they_read():
    """In the call of the fine level, the prediction follows the tower after fewer convolutions."""
    layers = find_groups(randomised(Levels()), (16, 16)).trace.layers
    depths = {name: layer.depth for name, layer in layers.items() if layer.kind != "norm"}
    assert depths == {"a.0": 0, "down.0": 1, "tower": 2, "fine": 3, "out": 3}
    assert [layers["tower"].calls, layers["tower"].cells] == [2, 16 * 16 + 8 * 8]


def test_the_order_of_layers_goes_on_behind_operations_without_a_rule():
    layers = find_groups(randomised(Shuffled()), (16, 16)).trace.layers
    assert [layers[name].depth for name in ("a.0", "b.0", "c.0")] == [0, 1, 2]


def test_a_network_that_needs_values_is_named():
    class Looks(Residual):
        def raw(self, x):
            return super().raw(x) if float(x.sum()) else x

    with pytest.raises(ModelError, match=r"Looks cannot be traced: raw\(\) must run on torch's"):
        find_groups(Looks(), (16, 16))


@pytest.mark.parametrize("kind", [Shared, Gate])
def test_cut_networks_without_norms_everywhere_run(kind):
    model = randomised(kind())
    groups = find_groups(model, (16, 16))
    small = cut_channels(model, kept_channels(groups, half(groups)))
    image = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        found, expected = small(image), model(image)
    shapes = [
        [t.shape for t in ([out] if torch.is_tensor(out) else out)] for out in (found, expected)
    ]
    assert shapes[0] == shapes[1]


def test_a_stock_backbone_is_cut_and_counted():
    """Inverted residuals with squeeze and excitation, of torchvision."""

    class Backbone(Net):
        def __init__(self):
            super().__init__()
            self.features = mobilenet_v3_small().features

        def raw(self, x):
            return self.features(x)

    groups = find_groups(Backbone(), (32, 32))
    kept = half(groups)
    small = cut_channels(Backbone().eval(), kept_channels(groups, kept))
    assert small(torch.rand(1, 3, 32, 32)).shape == (1, 576, 1, 1)
    found, fused = CostModel(groups).after(kept), fuse(small)
    measured = complexity(fused, (32, 32))
    assert found.params == measured.params < 0.6 * CostModel(groups).dense().params
    assert found.macs == pytest.approx(measured.macs, rel=2e-2)
    assert is_fused(fused)


SHIPPED = [n for n in shipped_names() if issubclass(type(get_exp(exp_name=n)), Exp)]


LARGE = ("yolox-l", "yolox-x", "yolox-l-p6", "yolox-x-p6")  # the same wiring, many more weights


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in SHIPPED]
)
def test_pruned_equals_masked_on_every_experiment(name):
    exp = get_exp(exp_name=name)
    torch.manual_seed(0)
    model = exp.get_model().eval()
    spread_scores(model)
    size = exp.detector_spec().divisor  # the smallest there is: the cost is that of the weights
    groups = find_groups(model, (size, size))
    kept = half(groups)
    small = cut_channels(model, kept_channels(groups, kept))
    image = torch.rand(1, 3, size, size) * 255
    with torch.no_grad():
        found, dense = small(image), model(image)
        mask(model, groups, kept)
        expected = model(image)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (dense - expected).abs().max() > 1e-2  # what was cut mattered

    removed = np.array([g.size - len(kept[g.name]) for g in groups.groups])
    cost, measured = CostModel(groups).of(removed), complexity(fuse(small), (size, size))
    assert cost.params == measured.params
    assert cost.macs == pytest.approx(measured.macs, rel=5e-3)  # thop counts pooling, too


OTHERS = [
    CenterNetSpec(num_classes=2),
    CenterNetSpec(num_classes=2, backbone="mobilenet_v2"),
    CenterNetSpec(num_classes=2, backbone="efficientnet_b0"),
    CenterNetSpec(num_classes=2, backbone="hourglass_fire", head_channels=32, light_head=True),
    CenterNetSpec(num_classes=2, backbone="hourglass_fire", head_channels=32),
    EfficientDetSpec(num_classes=2),
    EfficientDetSpec(num_classes=2, pyramid_cells=2, fusion="sum"),
]
UNCUT = ("backbone.neck.0.offset", "backbone.neck.1.offset", "backbone.neck.2.offset")
UNCUT += ("head.heat.out", "head.size.out", "head.offset.out")  # of a CenterNet
UNCUT += ("head.cls.predict.pointwise", "head.box.predict.pointwise")  # of an EfficientDet


def silence(model: nn.Module, groups, kept) -> None:
    """`mask`, for layers without a batch norm behind them, too: weights and biases become zero."""
    mask(model, groups, kept)
    for group in groups.groups:
        gone = np.setdiff1d(np.arange(group.size), kept[group.name])
        for member in group.members:
            layer = model.get_submodule(member.layer)
            if member.side == "out" and member.kind != "norm":
                index = torch.as_tensor(member.positions[gone].ravel())
                filters(layer)[index] = 0
                if layer.bias is not None:
                    layer.bias[index] = 0


@pytest.mark.parametrize("spec", OTHERS, ids=lambda s: f"{s.family}-{s.backbone}")
def test_pruned_equals_masked_in_other_families(spec):
    """Through hourglass shortcuts, fire blocks, deformable convolutions, weighted sums, squeeze and
    excitation, and heads that all levels share; all but predictions and places can be cut."""
    model = spec.build().eval()
    spread_statistics(model)
    for name, layer in model.named_modules():
        if name in UNCUT[:3]:
            nn.init.normal_(layer.weight, std=0.01)
    size = (spec.divisor, spec.divisor)
    groups = find_groups(model, size)
    cut = {m.layer for g in groups.groups for m in g.members if m.side == "out"}
    layers = {name for name, layer in model.named_modules() if is_convolution(layer)}
    assert layers - cut == layers & set(UNCUT)

    kept = half(groups)
    small = cut_channels(model, kept_channels(groups, kept))
    image = torch.rand(1, 3, *size) * 255
    with torch.no_grad():
        found, dense = small.raw(image)[:2], model.raw(image)[:2]
        fused = fuse(small)
        folded = fused.raw(image)[:2]
        silence(model, groups, kept)
        expected = model.raw(image)[:2]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(folded, expected, rtol=1e-4, atol=1e-5)
    assert (dense[0] - expected[0]).abs().max() > 1e-2

    removed = np.array([g.size - len(kept[g.name]) for g in groups.groups])
    cost, measured = CostModel(groups).of(removed), complexity(fused, size)
    assert cost.params == measured.params
    assert cost.macs == pytest.approx(measured.macs, rel=1e-2)  # thop counts pooling, too
    assert is_fused(fused) == (spec.family == "centernet")


def test_batch_norms_that_do_more_are_not_folded_away():
    """Some packages' apply an activation, too."""

    class NormAndAct(nn.BatchNorm2d):
        def forward(self, x):
            return torch.relu(super().forward(x))

    class Bends(Residual):
        def __init__(self):
            super().__init__()
            self.b[1] = NormAndAct(8)

    model = randomised(Bends())
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(fuse(model)(image), model(image))


def test_prediction_layers_and_the_image_are_never_cut():
    exp = get_exp(exp_name="yolox-nano")
    groups = find_groups(exp.get_model(), (64, 64))
    for group in groups.groups:
        assert not any("_preds" in m.layer for m in group.producers)
        assert not any("backbone.stem" in m.layer for m in group.consumers)


def test_models_that_cannot_be_pruned_are_errors():
    model = randomised(Residual())
    with pytest.raises(ModelError, match="fused model cannot be pruned"):
        find_groups(fuse(get_exp(exp_name="yolox-nano").get_model()), (64, 64))
    with pytest.raises(ModelError, match="frozen model"):
        find_groups(copy.deepcopy(model).requires_grad_(False), (16, 16))
    with pytest.raises(ModelError, match="all 1 channel groups are excluded"):
        find_groups(model, (16, 16), exclude=["a"])


def test_the_table_names_groups_and_what_is_kept():
    groups = find_groups(randomised(Concat()), (16, 16))
    table = group_table(groups, {"a.0": [0, 1], "b.0": list(range(6))})
    assert "| a.0" in table
    assert "25%" in table
    assert "100%" in table
    assert "first.0, second.0" in table


WEIGHT = (6, 3, 3, 2)
CALLS = {
    "convolution": lambda a, b, w: F.conv2d(a, w, stride=(2, 3), padding=(1, 0)),
    "dilated convolution": lambda a, b, w: F.conv2d(a, w[:, :1], dilation=(2, 3), groups=3),
    "transposed convolution": lambda a, b, w: F.conv_transpose2d(a, w[:3], stride=2),
    "pooling": lambda a, b, w: F.max_pool2d(a, 5, stride=1, padding=2),
    "pooling by its own side": lambda a, b, w: F.max_pool2d(a, (3, 2)),
    "pooling of what is left, too": lambda a, b, w: F.max_pool2d(a, 3, ceil_mode=True),
    "larger": lambda a, b, w: F.interpolate(a, scale_factor=2),
    "sum": lambda a, b, w: a + b,
    "sum in place": lambda a, b, w: a.add_(b),
    "scaled by one map": lambda a, b, w: a[:, :1] * b,
    "divided by a number": lambda a, b, w: 3 - a / 2,
    "of another type": lambda a, b, w: a + b.double(),
    "whole numbers": lambda a, b, w: a.long() / b.long(),
    "in place of a smaller one": lambda a, b, w: a.mul_(b.mean((2, 3), keepdim=True)),
    "activation": lambda a, b, w: torch.sigmoid(a),
    "limited by another": lambda a, b, w: torch.clamp(a[:, :1], b),
    "activation in place": lambda a, b, w: torch.relu_(a),
    "of whole numbers": lambda a, b, w: torch.exp(a.long()),
    "channels side by side": lambda a, b, w: torch.cat([a, b[:, :2]], 1),
    "cells side by side": lambda a, b, w: torch.cat([a.flatten(2), b.flatten(2)], -1),
    "types side by side": lambda a, b, w: torch.cat([a, b.double()], 1),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_trace_knows_shapes_and_types_as_pytorch_does(call):
    found = []

    class Asking(Net):
        def raw(self, images):
            weight = images.new_empty(WEIGHT)
            found.append(call(images.clone(), images + 1, weight))
            return found

    trace(Asking(), (16, 24))
    image = torch.rand(1, 3, 16, 24)
    wanted = call(image.clone(), image + 1, torch.rand(WEIGHT))
    assert (found[0].shape, found[0].dtype) == (wanted.shape, wanted.dtype)


@pytest.mark.parametrize(
    "call",
    [
        lambda image: torch.cat([image, image[:, :, 1:]], 1),
        lambda image: image + image[:, :, 1:],
        lambda image: F.conv2d(image, image.new_empty(4, 2, 3, 3)),
        lambda image: F.conv2d(image, image.new_empty(4, 3, 99, 99)),
    ],
)
def test_what_does_not_fit_cannot_be_traced(call):
    class Wrong(Net):
        def raw(self, images):
            return call(images)

    with pytest.raises(ModelError, match="cannot be traced"):
        trace(Wrong(), (16, 24))
