"""Learning from a teacher: zero where both agree, towards it where not."""

import copy

import pytest
import torch

from tests.tiny_models import SPECS, noise, spread_scores
from yolox.families import build
from yolox.families.yolox import YoloxLoss
from yolox.families.yolox.distance import output_distance
from yolox.losses.distillation import Distillation, DistillWeights

SPEC = SPECS["p5"]
DISTANCE = YoloxLoss(SPEC.strides).distance


@pytest.fixture
def teacher():
    torch.manual_seed(0)
    model = build(SPEC).eval()
    spread_scores(model)
    for layer in model.head.reg_preds:
        layer.weight.data.mul_(0.1)
    return model


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


def test_features_of_a_pruned_student_meet_the_channels_it_kept(teacher):
    """A student that only lost feature channels, whose features are else the same: no loss."""
    readers = teacher.feature_readers
    assert readers == [f"head.stems.{level}.conv" for level in range(3)]
    student = copy.deepcopy(teacher)
    kept = {name: [0, 2, 3] for name in readers}
    for name in readers:  # reads the first channels of the teacher's features
        conv = student.get_submodule(name)
        conv.weight = torch.nn.Parameter(conv.weight[:, kept[name]].clone())
        conv.register_forward_pre_hook(lambda layer, x: x[0][:, [0, 2, 3]])
    student.train()
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    distill = Distillation(teacher, student, DISTANCE, DistillWeights(0.0, 1.0), kept)
    images = noise(1, (64, 64)).float()
    assert float(distill(images, student(images)).detach()) == pytest.approx(0.0, abs=1e-5)


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
