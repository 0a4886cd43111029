"""What one step, the end of an epoch and a resumed run do: each option has its effect."""

import copy
from contextlib import closing

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.pipeline.runs import run_training
from yolox import dist
from yolox.config import TrainSpec
from yolox.data.cache import ResizedImages
from yolox.data.dataset import DetectionDataset
from yolox.engine import checkpoint, step
from yolox.engine import train as trainer
from yolox.engine.batches import batches_of
from yolox.engine.finite import DivergedError, check_losses
from yolox.engine.optim import load_optimizer, make_optimizer, uncompiled
from yolox.engine.setup import prepare
from yolox.engine.state import RunOptions
from yolox.engine.step import train_step
from yolox.engine.train import train
from yolox.errors import YoloxError
from yolox.eval.coco_ap import CocoMetrics
from yolox.eval.evaluate import Evaluation
from yolox.exp import get_exp
from yolox.families import build
from yolox.models.fuse import fuse

RATE = 1e-3
#: A step is `-RATE * gradient` and nothing else.
PLAIN_SGD = {
    "max_epoch": 1,
    "warmup_epochs": 0,
    "no_aug_epochs": 1,
    "min_lr_ratio": 1.0,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "ema": False,
    "freeze_bn": True,
    "hsv_prob": 0.0,
    "flip_prob": 0.0,
}


class Linear:
    """A criterion whose gradient does not depend on the weights of the last layer."""

    def __call__(self, predictions, targets, **phase):
        return {"total_loss": predictions.obj.sum(dim=(1, 2)).mean()}


@pytest.fixture
def scripted(monkeypatch):
    """Training without evaluation: AP is what the list says, epoch by epoch.

    Gives that list, and one of the weights that were evaluated.
    """
    aps, seen = [], []

    def evaluate(model, *arguments):
        seen.append(copy.deepcopy(model._model.state_dict()))
        return Evaluation(CocoMetrics(aps[len(seen) - 1], *[0.0] * 6, {}, 1), {}, [], {})

    monkeypatch.setattr("yolox.engine.validation.evaluate", evaluate)
    return aps, seen


def one_step(exp_file, scripted, **options):
    """All 12 images in one step: how much every parameter changed."""
    scripted[0].append(0.5)
    exp = get_exp(exp_file=str(exp_file))
    for key, value in {**PLAIN_SGD, "basic_lr_per_img": RATE / 12, **options}.items():
        setattr(exp, key, value)
    exp.get_criterion = Linear
    torch.manual_seed(exp.seed)
    before = build(exp.detector_spec()).state_dict()  # as the run builds it
    result = train(exp, RunOptions(batch_size=12, logger="none"))
    after = checkpoint.read(result.folder / "latest_ckpt.pth")["state"]["raw_model"]
    return {key: after[key] - value for key, value in before.items() if "num_b" not in key}


def length(change):
    return float(torch.cat([tensor.flatten() for tensor in change.values()]).norm())


def test_rounds_of_a_step_add_up_to_the_whole_batch(tiny_exp, scripted):
    whole = one_step(tiny_exp, scripted)
    rounds = one_step(tiny_exp, scripted, accumulate=3)
    assert length(whole) > 0
    for key, change in whole.items():
        torch.testing.assert_close(rounds[key], change, rtol=1e-3, atol=1e-3 * RATE)


def test_weights_of_losses_and_clipping_scale_a_step(tiny_exp, scripted):
    whole = one_step(tiny_exp, scripted)
    assert length(whole) > RATE  # or nothing would be clipped
    half = one_step(tiny_exp, scripted, label_weight=0.5)
    assert length(half) == pytest.approx(0.5 * length(whole), rel=1e-3)
    clipped = one_step(tiny_exp, scripted, clip_grad_norm=0.25)
    assert length(clipped) == pytest.approx(0.25 * RATE, rel=1e-3)
    sparse = one_step(tiny_exp, scripted, bn_l1=7.0)
    scale = "backbone.backbone.stem.conv.bn.weight"  # is 1: the sum of |scale| has the gradient 1
    torch.testing.assert_close(sparse[scale] - whole[scale], torch.full((8,), -7.0 * RATE))


def test_a_step_under_8_bits_is_another_one_in_much_the_same_direction(tiny_exp, scripted):
    whole, rounded = (
        torch.cat([part.flatten() for part in one_step(tiny_exp, scripted, **options).values()])
        for options in ({}, {"fake_int8": True})
    )
    assert not torch.equal(whole, rounded)
    assert float(torch.cosine_similarity(whole, rounded, dim=0)) > 0.9


def test_the_learning_rate_grows_with_the_batch(tiny_exp, scripted):
    change = one_step(tiny_exp, scripted)
    twice = one_step(tiny_exp, scripted, basic_lr_per_img=2 * RATE / 12)
    assert length(twice) == pytest.approx(2 * length(change), rel=1e-3)


class Recorded:
    """A criterion's calls: whether in the plain phase, image sizes, targets."""

    def __init__(self, criterion):
        self.calls = []
        calls = self.calls

        class Recording(type(criterion)):
            def __call__(self, predictions, targets, **phase):
                sizes = tuple(8 * cells for cells in predictions.sizes[0])
                calls.append((phase["plain"], sizes, targets.clone()))
                return super().__call__(predictions, targets, **phase)

        criterion.__class__ = Recording
        self.criterion = criterion


def test_the_plain_phase_and_training_sizes(tiny_exp, synthetic_dir, scripted):
    """The last epoch has L1 and no mosaic; at 96 instead of 64 pixels boxes grow with images."""
    scripted[0].extend([0.1, 0.2])
    exp = get_exp(exp_file=str(tiny_exp))
    exp.random_size, exp.hsv_prob, exp.flip_prob = (3, 3), 0.0, 0.0
    recorded = Recorded(exp.get_criterion())
    exp.get_criterion = lambda: recorded.criterion
    train(exp, RunOptions(batch_size=4, logger="none"))
    assert [plain for plain, _, _ in recorded.calls] == [False] * 3 + [True] * 3
    assert {size for _, size, _ in recorded.calls} == {(96, 96)}
    dataset = DetectionDataset(synthetic_dir, "instances_train2017.json", "train2017")
    wanted = []
    for index, record in enumerate(dataset.images):
        boxes, labels = dataset.targets(index)
        scale = 96 / max(record.height, record.width)
        for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels.tolist(), strict=True):
            row = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
            wanted.append((label, *(round(scale * value, 1) for value in row)))

    def rows(calls):
        found = torch.cat([targets.flatten(0, 1) for _, _, targets in calls])
        return [
            (int(row[0]), *(round(value, 1) for value in row[1:]))
            for row in found[found[:, 3] > 0].tolist()
        ]

    plain = torch.tensor(sorted(rows(recorded.calls[3:])), dtype=torch.float64)
    torch.testing.assert_close(plain, torch.tensor(sorted(wanted)).double(), atol=0.11, rtol=0)
    assert len(rows(recorded.calls[:3])) > 1.5 * len(wanted)  # mosaic: four images in one


def test_the_average_is_evaluated_and_best_is_kept_on_a_gain_alone(tiny_exp, scripted):
    aps, seen = scripted
    aps.extend([0.5, 0.3])
    _, result = run_training(tiny_exp, ema_warmup=10.0, basic_lr_per_img=0.01)
    assert (result.best_ap, result.last_ap) == (0.5, 0.3)
    latest = checkpoint.read(result.folder / "latest_ckpt.pth")
    best = checkpoint.read(result.folder / "best_ckpt.pth")
    assert (best["start_epoch"], best["best_ap"], best["curr_ap"]) == (1, 0.5, 0.5)
    assert (latest["start_epoch"], latest["best_ap"], latest["curr_ap"]) == (2, 0.5, 0.3)
    exp = get_exp(exp_file=str(tiny_exp))
    averaged, raw = exp.get_model().eval(), exp.get_model().eval()
    averaged.load_state_dict(latest["model"])
    raw.load_state_dict(latest["state"]["raw_model"])
    key = "backbone.backbone.stem.conv.conv.weight"
    wanted, other = (fuse(model).state_dict()[key] for model in (averaged, raw))
    torch.testing.assert_close(seen[-1][key], wanted)
    assert not torch.allclose(wanted, other, rtol=1e-3)


def test_patience_and_the_best_are_resumed(tiny_exp, scripted):
    aps, seen = scripted
    aps.extend([0.5, 0.4, 0.4, 0.4, 0.4, 0.4])
    options = {"max_epoch": 6, "no_aug_epochs": 0, "patience": 3}
    with pytest.raises(YoloxError, match="interrupted after step 7"):
        run_training(tiny_exp, stop_after=7, **options)
    _, result = run_training(tiny_exp, resume=True, **options)
    assert len(seen) == 4  # a gain, then three without one
    assert (result.best_ap, result.last_ap) == (0.5, 0.4)
    assert checkpoint.read(result.folder / "best_ckpt.pth")["start_epoch"] == 1


def test_an_epoch_is_evaluated_when_it_is_due(tiny_exp, scripted):
    aps, seen = scripted
    aps.extend([0.1] * 4)
    run_training(tiny_exp, max_epoch=5, no_aug_epochs=1, eval_interval=2)
    assert len(seen) == 3  # after the epochs 2, 4, and 5, which is the plain and last one


def test_a_run_is_saved_every_few_steps(tiny_exp, scripted, monkeypatch):
    steps = []
    save = trainer.save
    monkeypatch.setattr(trainer, "save", lambda run, *names: (steps.append(run.step), save(run)))
    scripted[0].extend([0.1] * 3)
    run_training(tiny_exp, save_interval=2)
    assert steps == [2, 3, 3, 4, 6, 6]  # three in an epoch, at its end before evaluating and after


def test_an_epoch_to_resume_at_may_be_named(tiny_exp, scripted):
    scripted[0].extend([0.1] * 9)
    run_training(tiny_exp)
    again, _ = run_training(tiny_exp, resume=True, start_epoch=2)
    assert len(again) == 3
    done, _ = run_training(tiny_exp, resume=True)
    assert done == []


def filter_norms(model):
    convolution = model.get_submodule("backbone.backbone.dark2.0.conv")
    return convolution.weight.detach().flatten(1).norm(dim=1)


def test_balanced_filters_start_a_run_but_do_not_resume_one(tiny_exp, ckpt_of):
    def prepared(balance, **options):
        exp = get_exp(exp_file=str(tiny_exp))
        exp.balance_filters = balance
        return filter_norms(prepare(exp, RunOptions(batch_size=4, logger="none", **options)).model)

    ones = torch.ones(len(prepared(False)))
    assert (prepared(False, ckpt=ckpt_of) - ones).abs().max() > 0.1
    torch.testing.assert_close(prepared(True, ckpt=ckpt_of), ones)
    assert (prepared(True, ckpt=ckpt_of, resume=True) - ones).abs().max() > 0.1


@pytest.fixture
def ckpt_of(tmp_path, tiny_exp):
    """A checkpoint of the tiny experiment's model as it is built."""
    torch.manual_seed(3)
    path = tmp_path / "start.pth"
    checkpoint.save(path, {"model": get_exp(exp_file=str(tiny_exp)).get_model().state_dict()})
    return str(path)


def test_buffers_become_their_mean_over_processes(monkeypatch):
    """Of two processes, of which the other one's statistics are larger by 2."""
    norm = nn.BatchNorm2d(3)
    norm.running_mean.fill_(1.0)
    norm.num_batches_tracked.fill_(5)
    monkeypatch.setattr(dist, "world_size", lambda: 2)
    monkeypatch.setattr(dist.dist, "all_reduce", lambda total: total.add_(total + 2))
    dist.average_buffers(norm)
    assert norm.running_mean.tolist() == [2.0] * 3
    assert norm.running_var.tolist() == [2.0] * 3
    assert norm.weight.tolist() == [1.0] * 3
    assert int(norm.num_batches_tracked) == 5


@pytest.mark.parametrize("within", [False, True])
def test_statistics_are_averaged_before_anything_is_saved(tiny_exp, scripted, monkeypatch, within):
    """At the end of an epoch and within one: model and average hold the processes' mean."""

    def average(model):
        model.get_buffer("backbone.backbone.stem.conv.bn.running_mean").fill_(42.0)

    monkeypatch.setattr(dist, "average_buffers", average)
    scripted[0].append(0.5)
    if within:
        with pytest.raises(YoloxError, match="interrupted"):
            run_training(tiny_exp, max_epoch=1, stop_after=2)
    else:
        run_training(tiny_exp, max_epoch=1)
    content = checkpoint.read(tiny_exp.parent / "out" / "tiny" / "latest_ckpt.pth")
    for state in (content["model"], content["state"]["raw_model"]):
        assert (state["backbone.backbone.stem.conv.bn.running_mean"] == 42.0).all()


class Mixed(nn.Module):
    """One parameter of each kind, all of them ones."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)
        for parameter in self.parameters():
            nn.init.ones_(parameter)


def steps_of(spec, gradient=1.0, count=2):
    """How far each parameter moves in each of some steps with a constant gradient, at rate 1."""
    model = Mixed()
    optimizer = make_optimizer(model, spec)
    for group in optimizer.param_groups:
        group["lr"] = 1.0
    moves = {name: [] for name, _ in model.named_parameters()}
    for _ in range(count):
        before = {name: float(p.detach()) for name, p in model.named_parameters()}
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()
        for name, parameter in model.named_parameters():
            moves[name].append(before[name] - float(parameter.detach()))
    return moves


def train_spec(tiny_exp, **options):
    exp = get_exp(exp_file=str(tiny_exp))
    for key, value in options.items():
        setattr(exp, key, value)
    return exp.train_spec()


def test_sgd_looks_ahead(tiny_exp):
    """Nesterov: g + m * v with v = g, then v = g + m * g (Sutskever 2013)."""
    moves = steps_of(train_spec(tiny_exp, momentum=0.9, weight_decay=0.0))
    assert moves["conv.weight"] == pytest.approx([1.9, 2.71])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_only_convolution_weights_decay(tiny_exp, optimizer):
    spec = train_spec(tiny_exp, optimizer=optimizer, momentum=0.0, weight_decay=0.1)
    moves = steps_of(spec, gradient=0.0, count=1)
    assert moves.pop("conv.weight") == pytest.approx([0.1])
    assert moves == {"conv.bias": [0.0], "norm.weight": [0.0], "norm.bias": [0.0]}


def test_adamw_takes_the_momentum(tiny_exp):
    optimizer = make_optimizer(Mixed(), train_spec(tiny_exp, optimizer="adamw", momentum=0.8))
    assert optimizer.defaults["betas"] == (0.8, 0.999)


@pytest.mark.parametrize("saved", [{"fused": True}, {"fused": False}, {"fused": None}, {}])
def test_a_state_of_another_run_does_not_say_how_steps_are_computed(tiny_exp, saved):
    """Official checkpoints say nothing, those of a run with a scaler not to fuse."""
    for scaled, own in ((False, True), (True, None)):
        optimizer = make_optimizer(Mixed(), train_spec(tiny_exp), scaled)
        state = optimizer.state_dict()
        for group in state["param_groups"]:
            group.pop("fused")
            group.update(saved)
        load_optimizer(optimizer, state)
        assert [group["fused"] for group in optimizer.param_groups] == [own] * 3


def two_layers():
    """Of equal weights, in one group of the optimiser."""
    layers = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(3, 4, 3, bias=False))
    layers[1].load_state_dict(layers[0].state_dict())
    return layers


def take_step(layers, optimizer, left_out=False):
    """One at rate 0.1; the second layer may have no gradient."""
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    gradient = torch.arange(108.0).reshape(4, 3, 3, 3)
    layers[0].weight.grad, layers[1].weight.grad = gradient, None if left_out else gradient
    optimizer.step()


@pytest.mark.parametrize(
    ("optimizer", "lost"), [("sgd", "layout"), ("sgd", "momentum"), ("adamw", "layout")]
)
def test_a_state_of_another_layout_or_with_gaps_is_taken_up(tiny_exp, optimizer, lost):
    """Steps of all parameters in one call go by memory, and want every momentum or none."""
    spec = train_spec(tiny_exp, optimizer=optimizer)
    trained = two_layers()
    made = make_optimizer(trained, spec)
    take_step(trained, made)
    saved = made.state_dict()
    if lost == "momentum":
        saved["state"][1]["momentum_buffer"] = None
    else:
        for key, value in saved["state"][0].items():
            if value.dim() == 4:
                saved["state"][0][key] = value.to(memory_format=torch.channels_last)
    runs = [copy.deepcopy(trained), copy.deepcopy(trained)]
    for layers, scaled in zip(runs, (False, True), strict=True):
        made = make_optimizer(layers, spec, scaled)
        load_optimizer(made, copy.deepcopy(saved))
        take_step(layers, made)
    torch.testing.assert_close(runs[0].state_dict(), runs[1].state_dict())


def test_a_part_that_is_left_out_of_a_step_takes_the_next(tiny_exp):
    layers = two_layers()
    made = make_optimizer(layers, train_spec(tiny_exp, weight_decay=0.0))
    before = layers[1].weight.detach().clone()
    take_step(layers, made, left_out=True)
    assert torch.equal(layers[1].weight, before)
    first = layers[0].weight.detach().clone()
    take_step(layers, made)
    torch.testing.assert_close(layers[1].weight, first)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_optimisers_step_as_pytorchs_own(kind):
    layers = [nn.Linear(5, 4), nn.Linear(5, 4)]
    layers[1].load_state_dict(layers[0].state_dict())
    words = {"momentum": 0.9, "nesterov": True} if kind is torch.optim.SGD else {}
    plain, ours = (
        one(layer.parameters(), lr=0.1, weight_decay=0.01, **words)
        for one, layer in zip((kind, uncompiled(kind)), layers, strict=True)
    )
    for _ in range(3):
        inputs = torch.randn(6, 5)
        for layer, optimizer in zip(layers, (plain, ours), strict=True):
            optimizer.zero_grad()
            layer(inputs).square().sum().backward()
            optimizer.step()
    assert torch.equal(layers[0].weight, layers[1].weight)
    plain.load_state_dict(ours.state_dict())
    assert isinstance(ours, kind)


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for a device: reads of values, and sizes that they decide."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put_") else []
        masked = any(index is not None and index.dtype == torch.bool for index in indices)
        self.count += name in ("_local_scalar_dense", "nonzero") or masked
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("changed", [{}, {"bn_l1": 1e-4, "freeze_bn": True}])
def test_a_step_waits_for_label_assignment_alone(tiny_exp, changed, monkeypatch):
    """Of which four are a batch's: for its numbers of objects, candidates (twice) and matches.

    The indices of the images are read, too, but those stay on the host.
    """
    read, tolist = [], torch.Tensor.tolist

    def noted(tensor):
        read.append(tensor)
        return tolist(tensor)

    exp = get_exp(exp_file=str(tiny_exp))
    for key, value in changed.items():
        setattr(exp, key, value)
    run = prepare(exp, RunOptions(batch_size=4))
    source = ResizedImages(run.dataset, run.sizes.input_size, None)
    with closing(batches_of(run, source)) as batches:
        train_step(run, batches)  # the loader draws a seed when it starts
        monkeypatch.setattr(torch.Tensor, "tolist", noted)
        with Waits() as waits:
            train_step(run, batches)
    assert waits.count + len(read) == 4 + 1
    monkeypatch.undo()
    check_losses(run)


def test_a_loss_that_is_not_finite_is_found_at_the_next_report(tiny_exp, tmp_path, monkeypatch):
    compute = step._all_losses

    def losses(run, *rest):
        found = compute(run, *rest)
        if run.step == 1:
            found["total_loss"] = found["total_loss"] * float("nan")
        return found

    monkeypatch.setattr(step, "_all_losses", losses)
    with pytest.raises(DivergedError, match="loss is nan at step 1; the batch's files are named"):
        run_training(tiny_exp, max_epoch=1, print_interval=3)
    folder = tmp_path / "out" / "tiny"
    assert [path.name for path in folder.glob("nonfinite*")] == ["nonfinite_step_1_rank_0.json"]
    assert not list(folder.glob("*.pth"))


@pytest.mark.slow
def test_a_compiled_network_learns_the_same(tiny_exp):
    sizes = {"max_epoch": 1, "random_size": (2, 2), "warmup_epochs": 0}
    plain, _ = run_training(tiny_exp, **sizes)
    compiled, _ = run_training(tiny_exp, name="compiled", compiled=True, **sizes)
    assert compiled == pytest.approx(plain, rel=1e-3)


@pytest.mark.parametrize("fake_int8", [False, True])
def test_training_under_8_bits_is_judged_under_8_bits(tiny_exp, monkeypatch, fake_int8):
    judged = []
    monkeypatch.setattr(
        "yolox.models.fake_int8.as_int8", lambda model: judged.append(model) or model
    )
    run_training(tiny_exp, max_epoch=1, fake_int8=fake_int8)
    assert bool(judged) == fake_int8


@pytest.mark.parametrize(("key", "value"), [("fake_int8", True), ("distill_features", 1.0)])
def test_what_looks_into_layers_is_not_compiled(key, value):
    with pytest.raises(ValueError, match=f"compiled true and {key} {value} exclude each other"):
        TrainSpec(compiled=True, **{key: value})
