"""Adaptation: exact where exact is possible, better where it is not, and nothing else changed."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.tiny_models import SPECS, Net, Noise, spread_scores
from tests.unit.test_groups import FOUND, Depthwise, Levels, Residual, conv, randomised
from yolox.compress import least_squares as adaptation
from yolox.compress.calibration import CalibrationImages
from yolox.compress.forward_cache import ForwardCache
from yolox.compress.groups import find_groups, kept_channels
from yolox.compress.importance.channels import CHANNEL_CRITERIA, Evidence, output
from yolox.compress.importance.weights import activation, layer_importance, layer_rank
from yolox.compress.layer_statistics import LayerStatistics, layer_variances
from yolox.compress.least_squares import (
    Student,
    adapt,
    fold_constants,
    least_squares,
    recalibrate,
    resolve,
)
from yolox.compress.mask import make_masks, maskable_weights
from yolox.compress.steps import AdaptStep
from yolox.data.folder import ImageFolder, find_images
from yolox.engine.masks import apply_masks
from yolox.errors import DataError
from yolox.families import build
from yolox.families.yolox import YoloxLoss
from yolox.models.channels import cut_channels
from yolox.models.trace import trace

SIZE = (32, 32)
IMAGES = Noise(SIZE, 8)


class Pair(Net):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = conv(3, 6, 3), conv(6, 6, 3), nn.Conv2d(6, 4, 1)

    def raw(self, x):
        return self.out(self.b(self.a(x / 100)))


def half_of(model, size=SIZE, share=0.5):
    """A student that keeps the first half of every group, or another share."""
    groups = find_groups(model, size)
    kept = {g.name: list(range(round(share * g.size + 0.49))) for g in groups.groups}
    channels = kept_channels(groups, kept)
    return Student(cut_channels(model, channels), model, channels, {}), groups.trace


def difference(student, model):
    with torch.no_grad():
        return max(float((student(x) - model(x)).abs().max()) for x in IMAGES())


def test_least_squares_restores_channels_that_were_copies():
    model = randomised(Pair())
    for block in (model.a, model.b):  # the second half repeats the first
        block[0].weight.data[3:] = block[0].weight.data[:3]
        norm = block[1]
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
            tensor[3:] = tensor[:3]
    student, trace = half_of(model)
    cut = difference(student.model, model)
    assert cut > 0.1
    solved = least_squares(student, trace, IMAGES, ridge=1e-9)
    assert difference(solved, model) < 0.05 * cut  # few samples draw towards the weights before
    assert difference(student.model, model) > 0.1  # the student itself is as it was


def test_folding_restores_channels_that_only_send_a_constant():
    model = randomised(Depthwise())
    for norm in (model.a[1], model.d[1]):
        norm.weight.data[4:] = 0.0
    student, trace = half_of(model)
    assert difference(student.model, model) > 1e-2
    assert difference(fold_constants(student, trace), model) < 1e-3


def test_least_squares_leaves_a_whole_model_as_it_is():
    model = randomised(Residual())
    solved = least_squares(Student(model, model, {}, {}), half_of(model)[1], IMAGES)
    assert difference(solved, model) < 1e-2  # of answers up to 100


def test_a_student_tuned_to_another_scale_is_fitted_as_well():
    model = randomised(Pair())
    student, trace = half_of(model)
    plain = least_squares(student, trace, IMAGES)
    scaled = copy.deepcopy(student.model)
    for block in (scaled.a, scaled.b):  # the same function, but for what the norm subtracts
        convolution, norm = block[0], block[1]
        factor = torch.linspace(0.2, 5.0, norm.num_features)
        convolution.weight.data *= factor[:, None, None, None]
        norm.running_mean *= factor
        norm.running_var.copy_((norm.running_var + norm.eps) * factor**2 - norm.eps)
    assert difference(scaled, student.model) < 1e-3
    other = least_squares(replace(student, model=scaled), trace, IMAGES)
    assert difference(other, plain) < 1e-3


def test_too_few_values_for_batch_norms():
    torch.manual_seed(0)
    with pytest.raises(DataError, match="batch norms cannot be estimated"):
        recalibrate(build(SPECS["p5"]), Noise((32, 32), 1))


@pytest.mark.parametrize("ridge", [0.0, -1.0, float("nan"), float("inf")])
def test_a_ridge_is_a_positive_number(ridge):
    with pytest.raises(ValueError, match="is not a positive number"):
        AdaptStep(ridge=ridge)


@pytest.mark.parametrize("name", [pytest.param("p5", marks=pytest.mark.slow), "depthwise", "p6"])
def test_adaptation_brings_outputs_closer(name, monkeypatch):
    torch.manual_seed(0)
    model = build(SPECS[name]).eval()
    spread_scores(model)
    images = Noise((128, 128), 12)
    model = recalibrate(model, images)  # of a random network, whose statistics mean nothing
    student, trace = half_of(model, (128, 128), 0.8)
    found = adapt(student, trace, images, AdaptStep(recalibrate=True))
    assert list(found) == ["fold", "least_squares", "recalibrate"]

    def error(other):
        """Of the logits, as a share of their variance."""
        lost = total = 0.0
        with torch.no_grad():
            for batch in images():
                for own, wanted in zip(other.raw(batch)[1:3], model.raw(batch)[1:3], strict=True):
                    lost += float((own - wanted).square().sum())
                    total += float((wanted - wanted.mean()).square().sum())
        return lost / total

    assert error(student.model) > 0.8  # nothing of them is left
    assert error(found["least_squares"]) < 0.6
    monkeypatch.setattr(adaptation, "ACTIVATIONS", {})
    assert error(found["least_squares"]) < 0.97 * error(least_squares(student, trace, images))


@pytest.mark.parametrize("samples", [16, 72])
def test_few_samples_do_no_harm(samples):
    """A layer that is right already, with noisy answers at about as many places as unknowns."""
    generator = torch.Generator().manual_seed(0)
    layer = nn.Conv2d(64, 8, 1).requires_grad_(False)
    weight = torch.randn(64, 8, generator=generator)
    layer.weight.copy_(weight.T[:, :, None, None])

    def draw(count):
        x = torch.randn(1, count, 64, generator=generator)
        return x, x @ weight + 4 * torch.randn(1, count, 8, generator=generator)

    moments = LayerStatistics()
    moments.add(*draw(samples))
    before = copy.deepcopy(layer)
    resolve(layer, moments, None, 1e-3)
    x, y = draw(1000)

    def error(conv):
        return float((x @ conv.weight.flatten(1).T + conv.bias - y).var())

    assert not torch.equal(layer.weight, before.weight)
    assert error(layer) < 1.5 * error(before)


def test_least_squares_within_masks():
    torch.manual_seed(0)
    model = recalibrate(build(SPECS["p5"]).eval(), Noise((64, 64), 4))
    masks = make_masks(layer_rank(maskable_weights(model)), 0.4)
    masked = copy.deepcopy(model)
    apply_masks(masked, masks)
    trace = find_groups(model, (64, 64)).trace
    solved = least_squares(Student(masked, model, {}, masks), trace, Noise((64, 64), 4))
    parameters = dict(solved.named_parameters())
    for name, mask in masks.items():
        assert not parameters[name][~mask].any()
        assert (parameters[name] != dict(masked.named_parameters())[name])[mask].any()


def test_recalibration_takes_the_statistics_of_the_images():
    model = randomised(Pair())
    fresh = recalibrate(model, IMAGES)
    with torch.no_grad():
        answers = torch.cat([fresh.a[0](x / 100) for x in IMAGES()])
    torch.testing.assert_close(
        fresh.a[1].running_mean, answers.mean((0, 2, 3)), rtol=1e-4, atol=1e-5
    )
    assert fresh.a[1].momentum == model.a[1].momentum
    assert not torch.equal(fresh.a[1].running_var, model.a[1].running_var)
    assert not fresh.training


def test_cached_outputs_are_the_models():
    torch.manual_seed(0)
    model = build(SPECS["p5"]).eval()
    images = Noise((64, 64), 4)
    trace = find_groups(model, (64, 64)).trace
    with torch.no_grad():
        expected = [model.raw(batch).cls for batch in images()]
        modules = dict(model.named_modules())
        cache = ForwardCache(model, trace)
        for depth in (0, 3, 20, 30, 20):
            cache.keep_before(depth)
            with cache.cached_batches(images) as batches:
                found = [model.raw(batch).cls for batch in batches]
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
            assert dict(model.named_modules()) == modules  # nothing is left in it


class Listed(nn.Module):
    """A module with convolutions that reads a list of maps."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, maps):
        return self.one(maps[0]) + self.two(maps[1])


class Iterated(Net):
    """A network that runs the layers of a sequence one by one."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1))
        self.listed, self.out = Listed(), nn.Conv2d(8, 4, 1)

    def raw(self, x):
        maps = []
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
        assert len(self.layers) == 2
        return self.out(self.listed(maps) + self.layers[1](maps[0]))


def test_modules_that_are_no_plain_functions_are_cached_or_passed_over():
    torch.manual_seed(0)
    model = Iterated().eval()
    images = Noise((16, 16), 4)
    cache = ForwardCache(model, trace(model, (16, 16)))
    with torch.no_grad():
        expected = [model.raw(batch) for batch in images()]
        for depth in (0, 2, 3, 3):
            cache.keep_before(depth)
            with cache.cached_batches(images) as batches:
                found = [model.raw(batch) for batch in batches]
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def rows(maps):
    """[B, C, H, W] -> centred [B * H * W, C]."""
    flat = maps.permute(0, 2, 3, 1).flatten(0, 2)
    return flat - flat.mean(0)


def test_large_systems_are_solved_by_steps(monkeypatch):
    """As those that are solved directly; a column that nothing is allowed in stays zero."""
    torch.manual_seed(0)
    x = torch.randn(2, 300, 40, dtype=torch.float64)
    system = x.mT @ x / 300 + 1e-3 * torch.eye(40)
    target, start = torch.randn(2, 2, 40, 7, dtype=torch.float64)
    allowed = torch.rand(2, 40, 7) > 0.4
    allowed[:, :, 3] = False
    expected = adaptation.solve_within(system, target, allowed, start)
    monkeypatch.setattr(adaptation, "MOST_DIRECT", 0.0)
    found = adaptation.solve_within(system, target, allowed, start)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not found[~allowed].any()


def test_output_errors_are_those_of_least_squares():
    """The closed form against solving without each channel in turn."""
    model = randomised(Pair())
    groups = find_groups(model, SIZE)
    group = next(g for g in groups.groups if g.name == "b.0")
    found = output(Evidence(model, groups, batches=IMAGES))["b.0"]
    with torch.no_grad():
        x = (
            torch.cat([model.b(model.a(i / 100)) for i in IMAGES()])
            .permute(0, 2, 3, 1)
            .flatten(0, 2)
        )
        y = torch.cat([model(i) for i in IMAGES()]).permute(0, 2, 3, 1).flatten(0, 2)
    x, y = (x - x.mean(0)).double(), (y - y.mean(0)).double()
    errors = []
    for channel in range(group.size):
        rest = torch.cat([x[:, :channel], x[:, channel + 1 :]], dim=1)
        left = y - rest @ torch.linalg.lstsq(rest, y).solution
        errors.append(float(left.square().sum() / y.square().sum()))
    assert int(found.argmin()) == errors.index(min(errors))
    assert float(found.min()) == pytest.approx(min(errors), rel=0.05)


@pytest.mark.parametrize("kind", FOUND)
def test_every_network_is_scored_and_adapted(kind):
    model = randomised(kind())
    groups = find_groups(model, SIZE)
    found = output(Evidence(model, groups, batches=IMAGES))
    assert all(torch.isfinite(found[group.name]).all() for group in groups.groups)
    assert all(float(found[group.name].max()) > 0 for group in groups.groups)
    student, trace = half_of(model)
    for name, adapted in adapt(student, trace, IMAGES, AdaptStep(recalibrate=True)).items():
        for answer in torch.utils._pytree.tree_leaves(adapted(next(IMAGES()))):
            assert torch.isfinite(answer).all(), name


def test_layers_that_run_at_several_levels_are_fitted_to_all_of_them():
    torch.manual_seed(0)
    model = recalibrate(randomised(Levels()), IMAGES)
    student, trace = half_of(model, share=0.75)
    fitted = least_squares(student, trace, IMAGES)

    def error(adapted, level):
        with torch.no_grad():
            return sum(
                float((adapted(x)[level] - model(x)[level]).square().sum()) for x in IMAGES()
            )

    for level in (1, 2):
        assert error(fitted, level) < 0.5 * error(student.model, level)


def test_constants_of_layers_called_several_times_are_added_once():
    """What a removed channel sends at rest is the same at every level."""
    model = randomised(Levels())
    for norm in (model.a[1], model.down[1]):
        norm.weight.data.zero_()  # all channels rest
        norm.bias.data.fill_(0.3)
    student, trace = half_of(model)
    channels = {
        k: v for k, v in student.channels.items() if k in ("a.0", "a.1", "down.0", "down.1")
    }
    channels |= {"tower": {"in": student.channels["tower"]["in"]}}
    student = Student(cut_channels(model, channels), model, channels, {})
    folded = fold_constants(student, trace)
    image = torch.zeros(1, 3, 32, 32)
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))  # the padding is no constant
    for found, wanted in zip(folded(image), model(image), strict=True):
        torch.testing.assert_close(found[inside], wanted[inside], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CHANNEL_CRITERIA)
def test_every_criterion_scores_every_unit(name):
    model = randomised(Residual())
    groups = find_groups(model, SIZE)
    gradients = {n: torch.rand_like(p) for n, p in model.named_parameters()}
    masks = {"a.0.weight": torch.rand(8, 3, 1, 1) > 0.5}
    evidence = Evidence(model, groups, masks, IMAGES, lambda: gradients)
    model.b[1].weight.data.uniform_(0.5, 1.5)
    scores = CHANNEL_CRITERIA[name](evidence)
    assert {key: value.shape for key, value in scores.items()} == {"a.0": (8,)}
    assert (scores["a.0"] >= 0).all()
    assert len(scores["a.0"].unique()) > 1


def test_activation_scores_are_shares_of_the_answers_variance():
    layer = nn.Conv2d(2, 1, 1, bias=False)
    layer.weight.data = torch.tensor([[[[2.0]], [[1.0]]]])
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(4, 2, 16, 16, generator=generator) for _ in range(8)]

    class Alone(Net):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def raw(self, x):
            return self.layer(x)

    model = Alone()
    seen = layer_variances(model, ["layer"], lambda: iter(images))
    scores = activation(
        {"layer.weight": layer.weight}, type("S", (), {"layer_variances": lambda self: seen})()
    )
    assert scores["layer.weight"].flatten().tolist() == pytest.approx([0.8, 0.2], abs=0.05)


def test_errors_early_in_the_network_matter_more_than_in_a_dead_end():
    torch.manual_seed(0)
    model = recalibrate(build(SPECS["p5"]).eval(), Noise((64, 64), 4))
    for layer in model.head.reg_preds:
        layer.weight.data.mul_(0.01)  # boxes of a sane size
    model.head.cls_convs[0][0].bn.weight.data.zero_()  # what this layer answers is ignored
    names = ["backbone.backbone.stem.conv.conv", "head.cls_convs.0.0.conv"]
    found = layer_importance(model, names, Noise((64, 64), 4), YoloxLoss(model.strides).distance)
    assert found[names[1]] == pytest.approx(0.0, abs=1e-2)
    assert found[names[0]] > 1.0


def test_calibration_images_are_canvases_and_do_not_stay_in_memory(synthetic_dir, tmp_path):
    source = find_images(synthetic_dir / "train2017")
    images = CalibrationImages(source, (64, 96), 10)
    batches = list(images())
    assert len(images) == sum(len(batch) for batch in batches) == 10
    assert batches[0].shape[1:] == (3, 64, 96)
    assert torch.equal(next(images.first(3)()), batches[0][:3])
    folder = images._folder.path
    part = images.first(2)
    del images
    assert folder.is_dir()  # the part still reads it
    del part
    assert not folder.exists()
    with pytest.raises(DataError, match="there are none"):
        CalibrationImages(ImageFolder([]), (64, 64), 4)
