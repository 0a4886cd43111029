"""Compression of any network as a Python call: channels found, chosen, cut, and the rest fitted.

    small = compress_module(model, images[:1], macs=0.5, images=images, score=accuracy)
    small.save("small.pth")
    model = load_module("small.pth", torchvision.models.resnet18)

What comes out is a plain module of the same class with fewer channels: train it on as you like.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from yolox.compress.groups import Groups, find_groups, group_table, kept_channels
from yolox.compress.importance.channels import CHANNEL_CRITERIA, Evidence, Scores
from yolox.compress.least_squares import Batches, Student, adapt
from yolox.compress.plan import plan_in_rounds
from yolox.compress.selection import select
from yolox.compress.steps import AdaptStep, PruneStep
from yolox.engine import checkpoint
from yolox.errors import ModelError, UsageError
from yolox.models.channels import Channels, cut_channels, cut_in_place
from yolox.models.network import Network
from yolox.models.pointwise import with_pointwise_linears

BATCH = 8
PREFIX = "module."
OWN = re.compile(r"(?<![\w.])module\.")  # at the beginning of a name

Forward = Callable[[Any, Tensor], Any]  # module, images -> any tensors


def call(module: Any, images: Tensor) -> Any:
    """What a module gives for images."""
    return module(images)


@dataclass(frozen=True)
class CompressedModule:
    """model: with fewer channels, linear layers as 1x1 convolutions. channels: kept ones, by layer.

    params_left, macs_left: shares of the original's. table: channels kept of each group, as text.
    scores: of the original and of each step on the way, where `score` was given. kept: the name of
    the step that the model is of.
    """

    model: nn.Module
    channels: dict[str, dict[str, list[int]]]
    params_left: float
    macs_left: float
    table: str
    kept: str
    scores: dict[str, float] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write weights and channels; no code. `load_module` reads it, after any training, too."""
        weights = {key: value.cpu() for key, value in self.model.state_dict().items()}
        checkpoint.save(Path(path), {"model": weights, "channels": self.channels})


def load_module(path: str | Path, build: Callable[[], nn.Module]) -> nn.Module:
    """What `CompressedModule.save` wrote, in evaluation mode.

    build: makes the original architecture, with any weights. Raises ModelError naming the file.
    """
    content = checkpoint.read(path)
    if "channels" not in content:
        raise ModelError(f"checkpoint {path} was not written by CompressedModule.save")
    try:
        model = cut_in_place(with_pointwise_linears(build()), content["channels"])
        model.load_state_dict(content["model"])
    except (ModelError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"checkpoint {path} does not fit what build() makes: {reason}") from error
    return model.eval()


def compress_module(
    model: nn.Module,
    example: Tensor,
    *,
    params: float | None = None,
    macs: float | None = None,
    images: Tensor | Sequence[Tensor] | Batches | None = None,
    score: Callable[[nn.Module], float] | None = None,
    forward: Forward = call,
    adapted: bool = True,
    **options: Any,
) -> CompressedModule:
    """Cut whole channels until at most these shares of parameters and MACs are left.

    model: a network over images; it is left as it is. What cannot be traced is not cut.
    example: images [1, C, H, W] as the model will see them; MACs are counted for their size.
    images: to choose channels by, and to fit what is left to the original's outputs: a tensor
        [N, C, H, W], batches of such, or a function that gives the batches anew. Without them,
        channels are chosen by their weights, and only constants are folded.
    score: of a module, higher is better, in evaluation mode: the best step is kept. Without it,
        the last one.
    forward: how the network is run up to what may be cut, `forward(module, images)`: for a
        detector, without the parts that depend on values (suppression).
    options: further fields of `yolox.compress.steps.PruneStep`: criterion, ranking, round_to,
        floor, exclude, rounds.
    Raises UsageError for options or budgets that cannot be, ModelError where nothing can be cut.
    """
    if example.dim() != 4:
        raise UsageError(f"example has the shape {tuple(example.shape)}, not [1, C, H, W]")
    options.setdefault("criterion", "output" if images is not None else "l2")
    step = _step(params=params, macs=macs, **options)
    batches = _batches(images, example) if images is not None else None
    if step.needs_images and batches is None:
        raise UsageError(f"criterion {step.criterion}, {step.rounds} rounds: give images")
    whole = _Wrapped(with_pointwise_linears(model).eval(), forward, example.shape[1])
    groups = find_groups(whole, (example.shape[2], example.shape[3]), step.exclude)

    def scores(current: Network, small: Groups, _: Channels) -> Scores:
        return CHANNEL_CRITERIA[step.criterion](Evidence(current, small, batches=batches))

    plan = plan_in_rounds(whole, groups, step, scores, batches, {})
    channels = kept_channels(groups, plan.kept)
    candidates: dict[str, Network] = {"cut": cut_channels(whole, channels)}
    if adapted:
        student = Student(candidates["cut"], whole, channels, {})
        how = AdaptStep(least_squares=batches is not None)
        candidates |= adapt(student, groups.trace, batches, how)
    measure = None if score is None else _scorer(score)
    kept = select(candidates, "score", measure)
    found = {"original": score(model.eval())} if score is not None else {}
    return CompressedModule(
        model=_plain(kept.model).train(model.training),
        channels={name.removeprefix(PREFIX): sides for name, sides in channels.items()},
        params_left=plan.params_left,
        macs_left=plan.macs_left,
        table=OWN.sub("", group_table(groups, plan.kept)),
        kept=kept.name,
        scores={**found, **kept.scores},
    )


class _Wrapped(Network):
    """Any module as a network."""

    def __init__(self, module: nn.Module, forward: Forward, image_channels: int):
        super().__init__()
        self.module, self.image_channels, self._forward = module, image_channels, forward

    def raw(self, images: Tensor) -> Any:
        """[B, C, H, W] -> what `forward` gives."""
        return self._forward(self.module, images)


def _plain(network: Network) -> nn.Module:
    return network.get_submodule("module")


def _scorer(score: Callable[[nn.Module], float]) -> Callable[[Network], float]:
    return lambda network: score(_plain(network).eval())


def _step(**values: Any) -> PruneStep:
    try:
        step = PruneStep(**values)
    except (TypeError, ValueError) as error:
        raise UsageError(f"compress_module: {error}") from error
    if step.is_latency or step.needs_gradients or step.ranking == "sensitivity":
        raise UsageError(
            "compress_module: budgets in time, the criterion taylor and the ranking sensitivity "
            "need an experiment"
        )
    if step.criterion == "mask":
        raise UsageError("compress_module: the criterion mask needs masks, of which there are none")
    return step


def _batches(images: Tensor | Sequence[Tensor] | Batches, example: Tensor) -> Batches:
    """Batches [B, C, H, W] of the example's type and place, anew at every call."""
    if callable(images):
        return images
    parts = list(torch.split(images, BATCH) if isinstance(images, Tensor) else images)
    for part in parts:
        if part.shape[1:] != example.shape[1:]:
            raise UsageError(
                f"images have the shape {tuple(part.shape)}, the example {tuple(example.shape)}"
            )

    def anew() -> Iterator[Tensor]:
        for part in parts:
            yield part.to(example)

    return anew
