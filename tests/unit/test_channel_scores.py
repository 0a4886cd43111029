"""Scores of channels and weights in numbers that can be worked out by hand."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tests.tiny_models import Net, spread_scores
from tests.unit.test_groups import conv, randomised
from yolox.compress.groups import find_groups
from yolox.compress.importance import channels as criteria
from yolox.compress.importance.channels import Evidence
from yolox.compress.importance.gradients import loss_gradients
from yolox.compress.importance.weights import layer_rank, output
from yolox.data.augment import letterbox
from yolox.errors import UsageError
from yolox.exp import get_exp


class Chain(Net):
    """Three channels between two convolutions."""

    def __init__(self):
        super().__init__()
        self.a, self.out = conv(3, 3), nn.Conv2d(3, 2, 1)

    def raw(self, x):
        return self.out(self.a(x))


@pytest.fixture
def model():
    made = randomised(Chain())
    made.a[0].weight.data = torch.tensor([[1.0, -1, 0], [2, 2, 0], [3, 0, -4]])[:, :, None, None]
    made.out.weight.data = torch.tensor([[1.0, 0, -2], [1, 3, 2]])[:, :, None, None]
    made.a[1].weight.data = torch.tensor([0.5, -1.0, 1.5])
    made.a[1].bias.data = torch.tensor([2.0, 0.0, -1.0])
    return made


def score(name, model, **evidence):
    found = criteria.CHANNEL_CRITERIA[name](Evidence(model, find_groups(model, (8, 8)), **evidence))
    assert list(found) == ["a.0"]
    return found["a.0"].tolist()


def over_mean(*values):
    return np.array(values) / np.mean(values)


def test_sums_over_weights_relative_to_each_layer(model):
    wanted = over_mean(2, 4, 7) + over_mean(2, 3, 4)
    assert score("l1", model) == pytest.approx(wanted)
    squares = over_mean(2, 8, 25) + over_mean(2, 9, 8)
    assert score("l2", model) == pytest.approx(squares)
    order = np.sort(squares)
    lamp = [order[0] / order.sum(), order[1] / order[1:].sum(), 1.0]
    assert score("lamp", model) == pytest.approx(lamp)  # l2 grows with the channel here


def test_the_scale_of_batch_norms(model):
    assert score("bn_scale", model) == pytest.approx(over_mean(0.5, 1, 1.5))


def test_taylor_is_the_square_of_the_change(model):
    gradients = {
        "a.1.weight": torch.tensor([4.0, 1.0, 2.0]),
        "a.1.bias": torch.tensor([-2.0, 9.0, 1.0]),
    }
    found = score("taylor", model, gradients=lambda: gradients)
    assert found == pytest.approx([(2 - 4) ** 2, (-1 + 0) ** 2, (3 - 1) ** 2])
    with pytest.raises(UsageError, match="labelled images"):
        score("taylor", model)


def test_masked_weights_do_not_count(model):
    kept = model.a[0].weight != -4  # of the third channel 3 is left
    found = score("mask", model, masks={"a.0.weight": kept})
    assert found == pytest.approx(over_mean(2, 4, 3) + over_mean(2, 3, 4))
    with pytest.raises(UsageError, match="weight masks"):
        score("mask", model)


def test_random_scores_depend_on_the_seed_alone(model):
    one, same, other = (score("random", model, seed=seed) for seed in (1, 1, 2))
    assert one == same != other
    assert all(0 <= value <= 1 for value in one)


def test_ranks_within_a_layer():
    found = layer_rank({"w": torch.tensor([[-4.0, 1.0], [3.0, -2.0]])})["w"]
    assert found.tolist() == [[0.75, 0.0], [0.5, 0.25]]


def test_output_scores_weigh_layers():
    layer = nn.Conv2d(1, 1, 1, bias=False)
    weights = {"near.weight": layer.weight, "far.weight": layer.weight}

    class CalibrationEvidence:
        def layer_variances(self):
            class One:
                def variances(self):
                    return torch.ones(1, 1), torch.ones(1, 1)

            return dict.fromkeys(("near", "far"), One())

        def layer_importance(self):
            return {"near": 1.0, "far": 3.0}

    found = output(weights, CalibrationEvidence())
    assert float(found["far.weight"]) == pytest.approx(3 * float(found["near.weight"]))
    with pytest.raises(UsageError, match="calibration images"):
        output(weights)


@pytest.fixture
def detector(tiny_exp):
    exp = get_exp(exp_file=str(tiny_exp))
    torch.manual_seed(0)
    model = exp.get_model()
    spread_scores(model)
    return exp, model


def test_gradients_are_those_of_the_model_as_it_is_deployed(detector):
    """Batch norms divide by their running statistics: those of the image do not matter."""
    exp, model = detector
    before = copy.deepcopy(model.state_dict())
    every = loss_gradients(model, exp, 3)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert set(every) == {name for name, _ in model.named_parameters()}
    probe = copy.deepcopy(model).eval()  # deployed; `raw` is what the criterion judges
    criterion, dataset, size = exp.get_criterion(), exp.get_dataset(), exp.test_size
    chosen = np.random.default_rng(0).permutation(len(dataset))[:3]
    for index in chosen:
        sample = dataset.sample(int(index))
        canvas, ratio = letterbox(sample.image, size)
        image = torch.from_numpy(canvas).permute(2, 0, 1)[None].float()
        boxes = torch.from_numpy(sample.boxes_xyxy * ratio)
        rows = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], dim=1)
        targets = torch.cat([torch.from_numpy(sample.labels)[:, None].float(), rows], dim=1)
        (criterion(probe.raw(image), targets[None])["total_loss"] / 3).backward()
    assert sum(float(gradient.abs().sum()) > 0 for gradient in every.values()) > 0.9 * len(every)
    for name, parameter in probe.named_parameters():
        wanted = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(every[name], wanted, rtol=1e-3, atol=1e-4, msg=name)


def test_no_more_images_are_looked_at_than_asked_for(detector, monkeypatch):
    exp, model = detector
    dataset = exp.get_dataset()
    seen = []
    read = dataset.sample
    monkeypatch.setattr(dataset, "sample", lambda index: seen.append(index) or read(index))
    exp.get_dataset = lambda: dataset
    loss_gradients(model, exp, 2)
    assert len(set(seen)) == 2
