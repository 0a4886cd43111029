"""LayerStatistics and the systems solved with them, against the same computed from all samples."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.tiny_models import Net
from yolox.compress import least_squares as adapt
from yolox.compress.importance.reconstruction import Reader, System
from yolox.compress.layer_statistics import (
    LayerStatistics,
    LayerVariances,
    layer_variances,
    observed_calls,
    output_rows,
    patches,
    sampled_positions,
    set_weight_matrix,
    solvable,
    weight_matrix,
)
from yolox.compress.least_squares import resolve, solve_within
from yolox.compress.steps import AdaptStep

LAYERS = {
    "1x1": {"kernel_size": 1},
    "1x1 stride": {"kernel_size": 1, "stride": 2},
    "3x3": {"kernel_size": 3, "padding": 1},
    "3x3 stride": {"kernel_size": 3, "stride": 2, "padding": 1},
    "3x5 dilated": {"kernel_size": (3, 5), "padding": (2, 4), "dilation": 2},
    "depthwise": {"kernel_size": (3, 5), "padding": (1, 2), "groups": 4},
}


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer_of(name):
    torch.manual_seed(0)
    outputs = 4 if name == "depthwise" else 6
    return nn.Conv2d(4, outputs, bias=False, dtype=torch.float64, **LAYERS[name])


@pytest.mark.parametrize("name", LAYERS)
def test_patches_times_weights_are_the_outputs(name):
    layer, x = layer_of(name), drawn(2, 4, 9, 7)
    y = layer(x).detach()
    places = torch.tensor([0, 3, 5, 11])
    rows = weight_matrix(layer)
    found = patches(layer, x, places) @ rows.mT
    torch.testing.assert_close(found, output_rows(layer, y.flatten(2)[:, :, places]))
    assert len(rows) == (4 if name == "depthwise" else 1)
    set_weight_matrix(layer, 2 * rows)
    torch.testing.assert_close(layer(x), 2 * y)


def test_moments_are_those_of_all_samples():
    x, y = drawn(2, 50, 3), drawn(2, 50, 4, seed=1) + 5
    sums = LayerStatistics()
    sums.add(x[:, :20], y[:, :20])
    sums.add(x[:, 20:], y[:, 20:])
    mean_x, mean_y, cov_xx, cov_xy, var_y = sums.centred()
    assert sums.count == 50
    torch.testing.assert_close(mean_x, x.mean(1))
    torch.testing.assert_close(mean_y, y.mean(1))
    for block in range(2):
        both = np.cov(x[block].T, y[block].T, bias=True)
        torch.testing.assert_close(cov_xx[block], torch.tensor(both[:3, :3]))
        torch.testing.assert_close(cov_xy[block], torch.tensor(both[:3, 3:]))
    torch.testing.assert_close(var_y, y.var(1, unbiased=False))


def test_spread_is_the_variance_of_all_samples():
    x, y = drawn(1, 40, 3) + 2, drawn(1, 40, 2, seed=1) - 3
    spread = LayerVariances()
    spread.add(x[:, :10], y[:, :10])
    spread.add(x[:, 10:], y[:, 10:])
    inputs, outputs = spread.variances()
    torch.testing.assert_close(inputs, x.var(1, unbiased=False))
    torch.testing.assert_close(outputs, y.var(1, unbiased=False))


def test_places_are_all_or_the_same_random_ones():
    assert sampled_positions(torch.zeros(1, 1, 16, 32)).tolist() == list(range(512))
    found = sampled_positions(torch.zeros(1, 1, 30, 40)).tolist()
    assert len(set(found)) == 512 == len(found)
    assert found == sorted(found)
    assert 0 <= found[0] < 50
    assert 1150 < found[-1] < 1200
    assert found == sampled_positions(torch.zeros(3, 2, 30, 40)).tolist()


class Three(Net):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(2, 2, 1) for _ in range(3))
        self.ran = 0

    def raw(self, x):
        x = self.b(self.a(x))
        self.ran += 1
        return self.c(x)


def test_the_rest_of_a_network_is_not_run():
    model, seen = Three(), []
    with observed_calls(model, ["b", "a"], lambda call: seen.append(call.name)) as run:
        run(torch.zeros(1, 2, 4, 4))
        assert model.ran == 1  # to count the calls
        run(torch.zeros(1, 2, 4, 4))
    assert seen == ["a", "b", "a", "b"]
    assert model.ran == 1
    model(torch.zeros(1, 2, 4, 4))
    assert (len(seen), model.ran) == (4, 2)  # the hooks are gone


def test_spreads_of_a_network():
    model, images = Three(), [drawn(2, 2, 4, 4, seed=s).float() + 3 for s in range(3)]
    found = layer_variances(model, ["a", "b"], lambda: iter(images))
    x = torch.cat(images).permute(1, 0, 2, 3).flatten(1)
    wanted = x.double().var(1, unbiased=False)
    torch.testing.assert_close(found["a"].variances()[0][0], wanted, rtol=1e-4, atol=1e-4)


def least_squares(x, y, ridge, start):
    """Centred ridge regression towards `start`, with numpy."""
    x, y = x - x.mean(0), y - y.mean(0)
    scale = (x**2).mean()
    system = x.T @ x / len(x) + ridge * scale * np.eye(x.shape[1])
    return np.linalg.solve(system, x.T @ y / len(x) + ridge * scale * start)


@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_gets_the_weights_that_fit_best(bias, monkeypatch):
    monkeypatch.setattr(adapt, "FEW_SAMPLES", 0.0)
    layer = nn.Conv2d(3, 2, 1, bias=bias, dtype=torch.float64)
    x, y = drawn(80, 3) + 1, drawn(80, 2, seed=1) * 3 + 7
    start = layer.weight.detach().flatten(1).T.numpy().copy()
    sums = LayerStatistics()
    sums.add(x[None], y[None])
    constant = resolve(layer, sums, None, 0.1)
    wanted = least_squares(x.numpy(), y.numpy(), 0.1, start)
    np.testing.assert_allclose(layer.weight.detach().flatten(1).T, wanted)
    left = y - x @ layer.weight.detach().flatten(1).T
    torch.testing.assert_close(constant, left.mean(0))
    if bias:
        torch.testing.assert_close(layer.bias.detach(), constant)


def test_the_ridge_grows_with_unknowns_over_samples():
    layer = nn.Conv2d(3, 2, 1, bias=False, dtype=torch.float64)
    x, y = drawn(6, 3), drawn(6, 2, seed=1)
    start = layer.weight.detach().flatten(1).T.numpy().copy()
    sums = LayerStatistics()
    sums.add(x[None], y[None])
    resolve(layer, sums, None, 0.1)
    wanted = least_squares(x.numpy(), y.numpy(), 0.1 + 3 / 6, start)
    np.testing.assert_allclose(layer.weight.detach().flatten(1).T, wanted)


@pytest.mark.parametrize("chunk", [256e6, 1.0])
def test_masked_systems_are_solved_over_what_is_allowed(monkeypatch, chunk):
    monkeypatch.setattr(adapt, "CHUNK_BYTES", chunk)
    root = drawn(2, 9, 4)
    system, target = root.mT @ root, drawn(2, 4, 5, seed=1)
    allowed = drawn(2, 4, 5, seed=2) > -0.3
    allowed[0, :, 0] = False
    found = solve_within(system, target, allowed, target)
    for block in range(2):
        for output in range(5):
            inside = allowed[block, :, output]
            part = torch.linalg.solve(
                system[block][inside][:, inside], target[block, inside, output]
            )
            torch.testing.assert_close(found[block, inside, output], part)
            assert not found[block, ~inside, output].any()


def test_what_is_lost_without_inputs_is_that_of_least_squares(monkeypatch):
    """Errors of a reader alone and after another left, and its weights, against solving anew."""
    monkeypatch.setattr("yolox.compress.importance.reconstruction.RIDGE", 0.0)
    layer = nn.Conv2d(5, 3, 1, bias=False, dtype=torch.float64)
    x = drawn(300, 5) @ drawn(5, 5, seed=1) + 2
    y = x @ layer.weight.detach().flatten(1).T
    sums = LayerStatistics()
    sums.add(x[None], y[None])
    reader = Reader("conv", System(layer, sums), torch.arange(5)[:, None], importance=2.0)
    centred, wanted = x - x.mean(0), y - y.mean(0)

    def lost(*gone):
        rest = centred[:, [c for c in range(5) if c not in gone]]
        left = wanted - rest @ torch.linalg.lstsq(rest, wanted).solution
        return 2 * float(left.square().sum() / wanted.square().sum())

    np.testing.assert_allclose(reader.errors(torch.arange(5)), [lost(c) for c in range(5)])
    assert reader.remove(torch.tensor([3])) == pytest.approx(lost(3))
    left = torch.tensor([0, 1, 2, 4])
    np.testing.assert_allclose(reader.errors(left), [lost(3, int(c)) - lost(3) for c in left])
    assert reader.remove(torch.tensor([0, 4])) == pytest.approx(lost(0, 3, 4) - lost(3))
    rest = centred[:, [1, 2]]
    solved = torch.linalg.lstsq(rest, wanted).solution.T
    np.testing.assert_allclose(reader.weight[:, [1, 2]], solved)
    assert not reader.weight[:, [0, 3, 4]].any()
    torch.testing.assert_close(reader.constant, (y - x @ reader.weight.T).mean(0))


@pytest.mark.parametrize(
    ("options", "needs_images"),
    [
        ({}, True),
        ({"least_squares": False}, False),
        ({"least_squares": False, "recalibrate": True}, True),
    ],
)
def test_what_needs_images(options, needs_images):
    assert AdaptStep(**options).needs_images is needs_images


def test_no_images_are_no_adaptation():
    with pytest.raises(ValueError, match="images 0 is not positive"):
        AdaptStep(images=0)
    assert AdaptStep(images=1).images == 1


def test_convolutions_with_a_padding_of_their_own_are_left_alone():
    class Same(nn.Conv2d):
        def forward(self, x):
            return super().forward(nn.functional.pad(x, (0, 1, 0, 1)))

    assert solvable(nn.Conv2d(3, 4, 3))
    assert not solvable(Same(3, 4, 3))
