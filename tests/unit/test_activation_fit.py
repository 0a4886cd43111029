"""Least squares weighted by activations: slopes, the solution, and what is known of a layer."""

import pytest
import torch
from torch import nn

from tests.tiny_models import Net
from tests.unit.test_layer_statistics import drawn
from yolox.compress import activation_fit
from yolox.compress.activation_fit import ACTIVATIONS, LEAST_WEIGHT, ActivatedSamples, slopes
from yolox.models.trace import trace


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_are_those_of_the_function(name):
    z = torch.linspace(-3, 3, 25, dtype=torch.float64) + 0.01
    step = 1e-5
    function = ACTIVATIONS[name]
    expected = (function(z + step) - function(z - step)) / (2 * step)
    torch.testing.assert_close(slopes((name, ()), z), expected.abs().clamp(min=LEAST_WEIGHT))


def weighted_solution(x, y, weight, ridge, near, allowed):
    """Column by column, by the normal equations with a constant."""
    maps, constants = torch.zeros_like(near), []
    for column in range(y.shape[1]):
        w = weight[:, column] / weight[:, column].sum()
        mean_x, mean_y = w @ x, w @ y[:, column]
        inside = allowed[:, column]
        cx = (x - mean_x)[:, inside]
        system = cx.T @ (w[:, None] * cx) + ridge * torch.eye(int(inside.sum()), dtype=x.dtype)
        right = cx.T @ (w * (y[:, column] - mean_y)) + ridge * near[inside, column]
        maps[inside, column] = torch.linalg.solve(system, right)
        constants.append(mean_y - mean_x @ maps[:, column])
    return maps, torch.stack(constants)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("blocks", [1, 3])
def test_every_output_is_solved_with_its_own_weights(monkeypatch, masked, blocks):
    monkeypatch.setattr(activation_fit, "NEAR", 1e-6)
    x, y = drawn(blocks, 400, 5, seed=1), drawn(blocks, 400, 4, seed=2)
    y = y + x @ drawn(blocks, 5, 4, seed=3)
    gain = (drawn(blocks * 4, seed=4).abs() + 0.5).float()
    offset = drawn(blocks * 4, seed=5).float()
    allowed = drawn(blocks, 5, 4, seed=6) > -0.5 if masked else None
    inside = torch.ones(blocks, 5, 4, dtype=torch.bool) if allowed is None else allowed
    near = torch.where(inside, drawn(blocks, 5, 4, seed=7), 0.0)
    samples = ActivatedSamples(("silu", ()), gain, offset, rows=400)
    samples.add(x[:, :150], y[:, :150])
    samples.add(x[:, 150:], y[:, 150:])
    ridge = torch.full((blocks, 1, 1), 0.03, dtype=torch.float64)
    system = x.mT @ x / 400 + ridge * torch.eye(5)
    found, constant = samples.refit(near, system, ridge, allowed)
    for block in range(blocks):
        affine = [v.reshape(blocks, 4)[block] for v in (gain, offset)]
        weight = slopes(("silu", ()), y[block] * affine[0] + affine[1])
        maps, constants = weighted_solution(
            x[block], y[block], weight, 0.03, near[block], inside[block]
        )
        torch.testing.assert_close(found[block], maps, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(constant[block, 0], constants, rtol=1e-4, atol=1e-4)


def test_errors_count_where_the_activation_lets_them_through():
    x = drawn(1, 2000, 1)
    y = torch.where(x > 0, 2 * x, 5 * x)  # no line fits both sides
    samples = ActivatedSamples(("relu", ()), torch.ones(1), torch.zeros(1), rows=2000)
    samples.add(x, y)
    start = torch.full((1, 1, 1), 3.5, dtype=torch.float64)
    found, _ = samples.refit(start, x.mT @ x / 2000, torch.full((1, 1, 1), 1e-4), None)
    assert 2.0 < float(found) < 2.9  # the plain solution is 3.5


def test_a_system_that_rounding_has_spoilt_is_solved_all_the_same():
    x = drawn(1, 300, 2)
    x[..., 1] = 0.0
    samples = ActivatedSamples(("silu", ()), torch.ones(1), torch.zeros(1), rows=300)
    samples.add(x, 2 * x[..., :1])
    system = x.mT @ x / 300
    system[0, 1, 1] = -1e-20
    found, _ = samples.refit(drawn(1, 2, 1), system, torch.full((1, 1, 1), 1e-6), None)
    assert float(found[0, 0, 0]) == pytest.approx(2.0, rel=1e-2)


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 2), (2, 3)])
def test_of_too_many_rows_some_are_drawn(monkeypatch, inputs, outputs):
    monkeypatch.setattr(activation_fit, "LARGEST_SAMPLES", 4 * 3 * 50)
    samples = ActivatedSamples(("silu", ()), torch.ones(outputs), torch.zeros(outputs), rows=200)
    for part in drawn(4, 1, 50, 3).float():
        samples.add(part[..., :inputs], part[..., :outputs])
    assert samples.count == 48
    held = sum(part.untyped_storage().nbytes() for part in samples._x)
    assert held == 4 * inputs * 48
    seen = samples._x[0][0, :, 0].tolist()
    places = [drawn(4, 1, 50, 3).float()[0, 0, :, 0].tolist().index(value) for value in seen]
    assert len({place % 4 for place in places}) > 1  # not one column of the picture


def test_slopes_are_those_of_the_numbers_that_an_activation_is_given():
    z = torch.tensor([-2.0, 2.0])
    assert slopes(("leaky_relu", (0.5,)), z).tolist() == [0.5, 1.0]


@pytest.mark.parametrize("spread", [1e-5, 1e-4, 1e-3])
def test_inputs_that_hardly_change_leave_the_weights_finite(spread):
    x = (1.0 + spread * drawn(1, 600, 16)).float()
    y = drawn(1, 600, 4, seed=3).float()
    samples = ActivatedSamples(("silu", ()), torch.ones(4), torch.zeros(4), rows=600)
    samples.add(x, y)
    mean = x.double().mean(1)
    spoilt = (x.mT @ x).double() / 600 - mean[:, :, None] * mean[:, None, :]
    found, constant = samples.refit(
        torch.zeros(1, 16, 4, dtype=torch.float64), spoilt, torch.full((1, 1, 1), 1e-12), None
    )
    assert found.isfinite().all()
    assert constant.isfinite().all()


class Activated(Net):
    """Convolutions that an activation reads: alone, beside a sum, behind a batch norm, and none."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 1) for _ in range(3))
        self.norm, self.last = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)

    def raw(self, images):
        first = nn.functional.leaky_relu(self.a(images), 0.5)
        second = self.b(first)
        third = self.norm(self.c(nn.functional.silu(second) + second))
        return self.last(nn.functional.silu(third))


def test_a_trace_knows_what_alone_reads_a_layer():
    layers = trace(Activated(), (32, 32)).layers
    assert {name: layer.activation for name, layer in layers.items()} == {
        "a": ("leaky_relu", (0.5,)),
        "b": None,
        "c": None,
        "norm": ("silu", ()),
        "last": None,
    }
