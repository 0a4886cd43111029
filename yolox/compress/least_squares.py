"""Adaptation: what is left of a cut or masked model stands in for the whole, without gradients.

Three parts, each on its own: constants of removed channels are folded into what read them; the
convolutions are solved anew, in the order of the network, by ridge least squares against the dense
model's outputs (He 2017), weighted by what activations let through; batch-norm statistics are
estimated again (EagleEye, Li 2020). All at the size that the model will run at (FixRes, Touvron
2019).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from yolox.compress.activation_fit import ACTIVATIONS, ActivatedSamples
from yolox.compress.conjugate_gradients import conjugate_gradients
from yolox.compress.forward_cache import ForwardCache
from yolox.compress.layer_statistics import (
    Call,
    LayerStatistics,
    RecordedOutputs,
    layer_statistics,
    observed_calls,
    set_weight_matrix,
    solvable,
    weight_matrix,
)
from yolox.compress.steps import AdaptStep
from yolox.errors import DataError
from yolox.models.channels import Channels
from yolox.models.copies import copied
from yolox.models.fuse import norm_affine
from yolox.models.graph import Layer, Trace
from yolox.models.network import Network
from yolox.ops.precision import to_float64

Batches = Callable[[], Iterator[Tensor]]  # images [B, 3, H, W] float, anew at every call

CHUNK_BYTES = 256e6  # of the systems that are solved at once
MOST_DIRECT = 1e13  # outputs times the cube of inputs, above which systems are solved by steps
NEAR, MOST_STEPS = 1e-6, 300
LEAST_VARIANCE = 1e-12
LEAST_GAIN = 1e-6  # of a batch norm, below which nothing is known of the scale before it
HUGE_VARIANCE = 1e30  # nothing of what a channel reads is left
FEW_SAMPLES = 1.0  # of the ridge, for as many unknowns as samples: so that few images do no harm


@dataclass(frozen=True)
class Student:
    """A model made from `dense`: with fewer channels, with masks, or both."""

    model: Network
    dense: Network
    channels: Channels
    masks: Mapping[str, Tensor]

    def kept(self, name: str, side: str) -> Tensor | None:
        """The dense layer's channels that are left on a side, None for all."""
        kept = self.channels.get(name, {}).get(side)
        return None if kept is None else torch.as_tensor(kept)


def adapt(
    student: Student, trace: Trace, batches: Batches | None, step: AdaptStep
) -> dict[str, Network]:
    """The model after each part of the adaptation, by the part's name, in order.

    batches: None where only constants are folded.

    trace: of the dense model at the size at which the model will run, which is the images' size.
    """
    found: dict[str, Network] = {}
    model = student.model
    if step.fold and student.channels:
        model = found["fold"] = fold_constants(student, trace)
    if step.least_squares and batches is not None:
        model = found["least_squares"] = least_squares(student, trace, batches, step.ridge)
    if step.recalibrate and batches is not None:
        found["recalibrate"] = recalibrate(model, batches)
    return found


@torch.no_grad()
def fold_constants(student: Student, trace: Trace) -> Network:
    """A copy of the student in which the readers of removed channels add what these sent at rest.

    A channel at rest sends its batch norm's bias through the activation. Data-free.
    """
    resting = copied(student.dense).eval()
    for layer in trace.layers.values():
        kept = student.kept(layer.name, "out")
        if layer.kind == "norm" and kept is not None:
            _silence(resting.get_submodule(layer.name), kept)
    readers = [
        layer.name for layer in _solvable(trace) if student.kept(layer.name, "in") is not None
    ]
    constants: dict[str, list[Tensor]] = defaultdict(list)  # of each call

    def see(call: Call) -> None:
        name, x = call.name, call.inputs
        gone = torch.ones(x.shape[1], dtype=torch.bool, device=x.device)
        gone[student.kept(name, "in")] = False
        sent = torch.where(gone, x.mean(dim=(0, 2, 3)), 0.0)
        constants[name].append(call.layer.weight.flatten(2).sum(-1) @ sent)

    device = next(resting.parameters()).device
    with observed_calls(resting, readers, see) as run:
        run(torch.zeros(1, resting.image_channels, *trace.size_hw, device=device))
    folded = copied(student.model).eval()
    for name, found in constants.items():
        constant, kept = torch.stack(found).mean(0), student.kept(name, "out")
        _add_constant(folded, name, trace, constant if kept is None else constant[kept])
    return folded


def _silence(norm: Any, kept: Tensor) -> None:
    """Let a batch norm's other channels put out its bias alone."""
    if norm.weight is None:
        gone = torch.ones_like(norm.running_var).index_fill_(0, kept.to(norm.running_var.device), 0)
        norm.running_var.add_(gone * HUGE_VARIANCE)
        return
    stays = torch.zeros_like(norm.weight).index_fill_(0, kept.to(norm.weight.device), 1.0)
    norm.weight.copy_(norm.weight * stays)


def _solvable(trace: Trace) -> list[Layer]:
    return [layer for layer in trace.layers.values() if solvable(layer.module)]


def _add_constant(model: Network, name: str, trace: Trace, constant: Tensor) -> None:
    """Add a constant [O] to a convolution's outputs, in its bias or its batch norms' means."""
    bias = getattr(model.get_submodule(name), "bias", None)
    if bias is not None:
        bias.add_(constant)
        return
    for norm in trace.normed().get(name, ()):
        mean = model.get_submodule(norm).running_mean
        if isinstance(mean, Tensor):
            mean.sub_(_like(constant, mean))


def least_squares(
    student: Student, trace: Trace, batches: Batches, ridge: float = AdaptStep.ridge
) -> Network:
    """A copy of the student whose convolutions' outputs are as close as can be to the dense ones.

    Layers of the same depth are solved together, from one pass over the images; each reads what
    the layers before it, solved already, send. Their batch norms become the dense model's, since it
    is the outputs before those that are fitted: a student that was tuned may have others.
    """
    solved = copied(student.model).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    layers = _solvable(trace)
    normed = trace.normed()
    recorded = RecordedOutputs(student.dense.eval(), [layer.name for layer in layers], batches)
    replay = ForwardCache(solved, trace)
    for depth in sorted({layer.depth for layer in layers}):
        wave = [layer for layer in layers if layer.depth == depth]
        kept = {layer.name: student.kept(layer.name, "out") for layer in wave}
        replay.keep_before(depth)
        samples = _activated(student, trace, normed, recorded, kept)
        with replay.cached_batches(batches) as images:
            found = layer_statistics(solved, recorded, kept, images, samples)
        for layer in wave:
            mask = student.masks.get(f"{layer.name}.weight")
            conv = solved.get_submodule(layer.name)
            _take_scale(student, solved, layer.name, normed.get(layer.name, ()))
            constant = resolve(conv, found[layer.name], mask, ridge, samples.get(layer.name))
            if conv.bias is None:
                _add_constant(solved, layer.name, trace, constant)
    return solved


def _activated(
    student: Student,
    trace: Trace,
    normed: Mapping[str, Sequence[str]],
    recorded: RecordedOutputs,
    kept: Mapping[str, Tensor | None],
) -> dict[str, ActivatedSamples]:
    """For the layers whose outputs go into an activation, behind one batch norm or none."""
    found = {}
    for name, outputs in kept.items():
        layer = trace.layers[name]
        norms = normed.get(name, ())
        last = trace.layers[norms[0]] if len(norms) == 1 else layer
        activation = last.activation
        if activation is None or activation[0] not in ACTIVATIONS or last.calls != layer.calls:
            continue
        norm: Any = student.dense.get_submodule(last.name) if last is not layer else None
        if norm is not None and norm.running_var is None:
            continue
        count = len(layer.outputs)
        affine = (torch.ones(count), torch.zeros(count)) if norm is None else norm_affine(norm)
        gain, offset = (values.float() for values in affine)
        if outputs is not None:
            gain, offset = gain[outputs], offset[outputs]
        rows = recorded.rows(name)
        found[name] = ActivatedSamples(activation, gain, offset, rows)
    return found


@torch.no_grad()
def _take_scale(student: Student, solved: Network, layer: str, norms: Sequence[str]) -> None:
    """Give a convolution's batch norms the dense model's values, and its weights their scale.

    What the layers send stays the same but for a constant, so that the weights are near the
    solution: the ridge draws towards them.
    """
    conv: Any = solved.get_submodule(layer)
    for number, name in enumerate(norms):
        norm: Any = solved.get_submodule(name)
        dense = student.dense.get_submodule(name)
        if norm.running_var is None:
            continue
        kept = student.kept(name, "out")
        before, _ = norm_affine(norm)
        for key in ("weight", "bias", "running_mean", "running_var"):
            value = getattr(dense, key)
            if value is None:
                continue
            value = value.detach()
            getattr(norm, key).copy_(value if kept is None else value[kept.to(value.device)])
        after, _ = norm_affine(norm)
        if number == 0:
            ratio = torch.where(after.abs() > LEAST_GAIN, before / after, 1.0)
            conv.weight.mul_(_like(ratio, conv.weight)[:, None, None, None])


def _like(values: Tensor, other: Tensor) -> Tensor:
    """Values in another tensor's type, then on its device, which may have no float64."""
    return values.to(other.dtype).to(other.device)


@torch.no_grad()
def resolve(
    conv: Any,
    moments: LayerStatistics,
    mask: Tensor | None,
    ridge: float,
    samples: ActivatedSamples | None = None,
) -> Tensor:
    """Give a convolution the weights that fit the moments best, within its mask, in place.

    samples: the same rows, where errors count by what the activation behind lets through.
    Returns the constant [O] to be added to its outputs; a bias, where there is one, has it already.
    """
    mean_x, mean_y, cov_xx, cov_xy, _ = moments.centred()
    before = to_float64(weight_matrix(conv)).mT  # [blocks, D, O]
    size = cov_xx.shape[-1]
    scale = cov_xx.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None].clamp(min=LEAST_VARIANCE)

    def drawn(count: int) -> Tensor:
        """How strongly so many samples are drawn towards the weights before."""
        return (ridge + FEW_SAMPLES * size / count) * scale

    system = cov_xx + drawn(moments.count) * torch.eye(size).to(cov_xx)
    target = cov_xy + drawn(moments.count) * before
    allowed = None if mask is None else mask.to(cov_xx.device).reshape(before.mT.shape).mT
    if allowed is None:
        after = torch.linalg.solve(system, target)
    else:
        after = solve_within(system, target, allowed, before)
    constant: Tensor = mean_y[:, None, :] - mean_x[:, None, :] @ after
    if samples is not None:
        after, constant = samples.refit(after, system, drawn(samples.count), allowed)
    constant = constant.reshape(-1)
    set_weight_matrix(conv, _like(after.mT, conv.weight))
    if conv.bias is not None:
        conv.bias.copy_(_like(constant, conv.bias))
    return constant


def solve_within(system: Tensor, target: Tensor, allowed: Tensor, near: Tensor) -> Tensor:
    """Solve for each output on its own, over the inputs that its mask allows.

    system: [blocks, D, D]; target, allowed, near: [blocks, D, O]. Forbidden inputs get equations
    of their own that say zero. Where that would take minutes, all outputs of a block are solved
    together by steps that begin at `near`.
    """
    blocks, size, outputs = target.shape
    if outputs * size**3 > MOST_DIRECT:
        parts = (values.unbind() for values in (system, target, allowed, near))
        return torch.stack([solve_by_steps(*part) for part in zip(*parts, strict=True)])
    result = torch.zeros_like(target)
    step = max(int(CHUNK_BYTES / (8 * size * size)), 1)
    identity = torch.eye(size, dtype=torch.bool, device=system.device)
    for block in range(blocks):
        for start in range(0, outputs, step):
            inside = allowed[block, :, start : start + step].T  # [o, D]
            both = inside[:, :, None] & inside[:, None, :]
            systems = torch.where(both, system[block], 0.0)
            systems[(~inside)[:, :, None] & identity] = 1.0
            rights = torch.where(inside, target[block, :, start : start + step].T, 0.0)
            solved = torch.linalg.solve(systems, rights[:, :, None])[:, :, 0]
            result[block, :, start : start + step] = solved.T
    return result


def solve_by_steps(system: Tensor, target: Tensor, allowed: Tensor, start: Tensor) -> Tensor:
    """Conjugate gradients within masks, all columns at once.

    system: [D, D], symmetric and positive; target, allowed, start: [D, O]. Preconditioned by the
    diagonal. Ends when the residual of every column is `NEAR` of its target, or after `MOST_STEPS`.
    """
    inverse = allowed / system.diagonal()[:, None]
    first = torch.where(allowed, start, 0.0)
    return conjugate_gradients(
        lambda towards: torch.where(allowed, system @ towards, 0.0),
        lambda rest: inverse * rest,
        first,
        torch.where(allowed, target - system @ first, 0.0),
        NEAR * torch.where(allowed, target, 0.0).norm(dim=0, keepdim=True),
        MOST_STEPS,
    )


def recalibrate(model: Network, batches: Batches) -> Network:
    """A copy whose batch-norm statistics are those of the given images.

    Raises DataError where they are too few values to have any.
    """
    fresh = copied(model).eval()
    norms = [m for m in fresh.modules() if isinstance(m, nn.BatchNorm2d) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    with torch.no_grad():
        for images in batches():
            try:
                fresh.raw(images.contiguous(memory_format=torch.channels_last))
            except ValueError as error:
                raise DataError(f"batch norms cannot be estimated: {error}") from error
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return fresh.eval()
