"""Learning from a teacher: zero where both agree, towards it where not."""

import copy
from functools import partial

import pytest
import torch

from tests.tiny_models import SPECS, noise, spread_scores
from yolox.compress.groups import find_groups, kept_channels
from yolox.compress.least_squares import recalibrate
from yolox.families import build
from yolox.families.yolox import YoloxLoss
from yolox.families.yolox.distance import output_distance
from yolox.losses import distillation
from yolox.losses.distillation import Distillation, DistillWeights
from yolox.models.channels import cut_channels

SPEC = SPECS["p5"]
DISTANCE = YoloxLoss(SPEC.strides).distance


@pytest.fixture
def teacher():
    torch.manual_seed(0)
    model = build(SPEC).eval()
    spread_scores(model)
    for layer in model.head.reg_preds:
        layer.weight.data.mul_(0.1)
    return recalibrate(model, lambda: iter([noise(8, (64, 64)).float()]))


def test_equal_predictions_have_no_loss_and_no_gradient(teacher):
    predictions = teacher.raw(noise(2, (64, 64)).float())
    own = predictions._replace(
        **{
            key: getattr(predictions, key).detach().requires_grad_()
            for key in ("box", "obj", "cls")
        }
    )
    loss = output_distance(own, predictions, SPEC.strides)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-3)
    for part in (own.obj, own.cls):
        assert part.grad.abs().max() < 1e-6


def test_boxes_that_overflow_do_not_make_it_undefined(teacher):
    predictions = teacher.raw(noise(1, (64, 64)).float())
    wild = predictions._replace(box=predictions.box + 200)
    assert bool(torch.isfinite(output_distance(wild, wild, SPEC.strides)))


def test_a_student_learns_the_teachers_outputs_and_features(teacher):
    student = copy.deepcopy(teacher).train()
    torch.manual_seed(1)
    for parameter in student.head.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    distill = Distillation(teacher, student, DISTANCE, DistillWeights(1.0, 1.0), {})
    optimizer = torch.optim.Adam(student.parameters(), 1e-3)
    images = noise(2, (64, 64)).float()
    losses = []
    for _ in range(20):
        loss = distill(images, student(images))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert not any(p.requires_grad for p in teacher.parameters())


def plan_of(model, share=0.5):
    """The first channels of every group, counted from the dense model."""
    groups = find_groups(model, (64, 64))
    return kept_channels(
        groups, {g.name: range(max(int(share * g.size), 1)) for g in groups.groups}
    )


def test_features_of_a_pruned_student_meet_the_channels_it_kept(teacher):
    """Channels that send nothing are cut: what all layers read is the same as before, no loss."""
    channels = plan_of(teacher)
    with torch.no_grad():
        for name, sides in channels.items():
            norm = teacher.get_submodule(name)
            if isinstance(norm, torch.nn.BatchNorm2d):
                gone = torch.ones(norm.num_features, dtype=torch.bool)
                gone[list(sides["out"])] = False
                norm.weight[gone], norm.bias[gone] = 0.0, 0.0
    student = cut_channels(teacher, channels).train()
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    kept = {name: sides["in"] for name, sides in channels.items() if "in" in sides}
    images = noise(1, (64, 64)).float()

    def loss(kept, layers):
        watched = copy.deepcopy(student)
        distill = Distillation(teacher, watched, DISTANCE, DistillWeights(0.0, 1.0, layers), kept)
        return float(distill(images, watched(images)).detach())

    others = {name: [max(c) - i for i in c] for name, c in kept.items()}
    for layers in ("neck", "all"):
        assert loss(kept, layers) == pytest.approx(0.0, abs=1e-6)
        assert loss(others, layers) > 1e-3


def test_channels_count_alike_whatever_their_scale():
    feature_distance = partial(distillation.feature_distance, per_channel=True)
    own, full = torch.randn(4, 6, 8, 8), torch.randn(4, 6, 8, 8)
    before = feature_distance(own, full, None)
    assert float(before) == pytest.approx(2.0, rel=0.1)  # of two independent features
    scale = torch.tensor([1.0, 3.0, 0.5, 2.0, 1.0, 4.0])[:, None, None]
    assert float(feature_distance(scale * own, scale * full, None)) == pytest.approx(
        float(before), rel=0.1
    )
    assert float(feature_distance(own[:, :2], full, torch.tensor([4, 2]))) == pytest.approx(
        float(feature_distance(own[:, :2], full[:, [4, 2]], None))
    )


def test_a_feature_at_rest_is_no_reason_for_an_infinite_loss():
    full = torch.zeros(2, 3, 4, 4)
    full[:, 1] = 5.0
    for own, wanted in ((full + 1, full), (torch.ones(1, 3, 1, 1), torch.zeros(1, 3, 1, 1))):
        for per_channel in (True, False):
            found = distillation.feature_distance(own, wanted, None, per_channel=per_channel)
            assert bool(torch.isfinite(found))


def test_features_finer_than_the_finest_predictions_are_left_out(teacher, monkeypatch):
    widths = []

    def distance(own, full, kept, per_channel):
        assert per_channel
        widths.append(own.shape[-1])
        return own.mean()

    monkeypatch.setattr(distillation, "feature_distance", distance)
    student = copy.deepcopy(teacher).train()
    distill = Distillation(teacher, student, DISTANCE, DistillWeights(1.0, 1.0, "all"), {})
    images = noise(1, (64, 64)).float()
    distill(images, student(images))
    assert set(widths) == {2, 4, 8}  # at strides 32, 16, 8; there are such of 16 and 32, too
    assert len(widths) > 20  # of the backbone, the neck and the head


def test_copies_of_the_student_that_are_evaluated_do_not_disturb(teacher):
    student = copy.deepcopy(teacher).train()
    distill = Distillation(teacher, student, DISTANCE, DistillWeights(1.0, 1.0), {})
    images = noise(1, (64, 64)).float()
    copy.deepcopy(student).eval()(images)
    assert bool(torch.isfinite(distill(images, student(images))))


@pytest.mark.parametrize(("outputs", "features"), [(3.0, 0.0), (0.25, 0.0), (1.0, 2.0)])
def test_the_terms_have_their_weights(teacher, outputs, features):
    student = copy.deepcopy(teacher).train()
    for parameter in student.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    images = noise(1, (64, 64)).float()

    def loss(outputs, features):
        weights = DistillWeights(outputs, features)
        distill = Distillation(teacher, student, DISTANCE, weights, {})
        return float(distill(images, student(images)).detach())

    alone, both = loss(1.0, 0.0), loss(1.0, 1.0)
    assert both > alone > 0
    wanted = outputs * alone + features * (both - alone)
    assert loss(outputs, features) == pytest.approx(wanted, rel=1e-4)
