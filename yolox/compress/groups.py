"""Channel groups: everything that must be cut together, found from the model itself."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from loguru import logger
from tabulate import tabulate

from yolox.errors import ModelError
from yolox.models.fuse import is_fused
from yolox.models.graph import Labels, Trace
from yolox.models.network import Network
from yolox.models.trace import trace

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Member:
    """One side of one layer. positions: [units, k], the channels of that side that a unit is."""

    layer: str
    side: str  # "out" or "in", of a depthwise convolution or a batch norm "out" only
    kind: str  # conv, depthwise or norm
    positions: Positions


@dataclass(frozen=True)
class ChannelGroup:
    """Units that can be cut one by one, each with its channels in all members.

    name: of the first convolution that produces the channels.
    """

    name: str
    size: int
    members: tuple[Member, ...]

    def select(self, kind: str, side: str) -> list[Member]:
        """The members of one kind and side."""
        return [m for m in self.members if m.kind == kind and m.side == side]

    @property
    def producers(self) -> list[Member]:
        """Convolutions whose output channels are cut."""
        return self.select("conv", "out")

    @property
    def consumers(self) -> list[Member]:
        """Convolutions whose input channels are cut."""
        return self.select("conv", "in")

    @property
    def norms(self) -> list[Member]:
        """Batch norms whose channels are cut."""
        return self.select("norm", "out")


@dataclass(frozen=True)
class Groups:
    """The groups of a model and the trace they come from."""

    groups: tuple[ChannelGroup, ...]
    trace: Trace

    def __iter__(self) -> "Iterable[ChannelGroup]":  # type: ignore[override]
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def sizes(self) -> dict[str, int]:
        """Units of each group, by its name."""
        return {group.name: group.size for group in self.groups}


def find_groups(model: Network, size_hw: tuple[int, int], exclude: Sequence[str] = ()) -> Groups:
    """The channel groups of a model, without those that have an excluded word in a producer's name.

    Raises ModelError where nothing can be cut: the model is fused or frozen, or all is excluded.
    """
    if is_fused(model):
        raise ModelError("a fused model cannot be pruned: prune the checkpoint it was made from")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ModelError("a frozen model cannot be pruned: no parameter requires a gradient")
    found = trace(model, size_hw)
    groups = _collect(found)
    kept = tuple(g for g in groups if not any(w in m.layer for w in exclude for m in g.producers))
    if not kept:
        reason = f"all {len(groups)} channel groups are excluded" if groups else "no group is free"
        raise ModelError(f"nothing can be pruned: {reason}")
    return Groups(kept, found)


def warn_of_unused(exclude: Sequence[str], names: Collection[str]) -> None:
    """A word that leaves nothing out is probably misspelt."""
    for word in exclude:
        if not any(word in name for name in names):
            logger.warning("exclude: {!r} is in no name of this model: nothing is left out", word)


def kept_channels(
    groups: Groups, kept: Mapping[str, Sequence[int]]
) -> dict[str, dict[str, list[int]]]:
    """Kept units by group name -> kept channels by layer, for `cut_channels`."""
    removed: dict[tuple[str, str], set[int]] = defaultdict(set)
    for group in groups.groups:
        if group.name not in kept:
            continue
        gone = np.setdiff1d(np.arange(group.size), np.asarray(kept[group.name], dtype=np.int64))
        if not gone.size:
            continue
        for member in group.members:
            removed[member.layer, member.side].update(member.positions[gone].ravel().tolist())
    channels: dict[str, dict[str, list[int]]] = defaultdict(dict)
    for (layer, side), gone_channels in removed.items():
        seen = groups.trace.layers[layer]
        width = len(seen.outputs if side == "out" else seen.inputs)
        channels[layer][side] = [i for i in range(width) if i not in gone_channels]
    return dict(channels)


def kept_units(
    groups: Groups, channels: Mapping[str, Mapping[str, Sequence[int]]]
) -> dict[str, list[int]]:
    """The reverse of `kept_channels`: kept channels by layer -> kept units by group name."""
    kept = {}
    for group in groups.groups:
        producer = group.producers[0]
        left = channels.get(producer.layer, {}).get("out")
        inside = [left is None or first in left for first in producer.positions[:, 0].tolist()]
        kept[group.name] = [unit for unit, stays in enumerate(inside) if stays]
    return kept


def group_table(groups: Groups, kept: Mapping[str, Sequence[int]] | None = None) -> str:
    """One row per group: its channels, who makes and who reads them, and how many are kept."""
    rows = []
    for group in groups.groups:
        row = [
            group.name,
            group.size,
            len(group.producers),
            len(group.select("depthwise", "out")),
            _short(m.layer for m in group.consumers),
        ]
        if kept is not None:
            left = len(kept.get(group.name, range(group.size)))
            row[2:2] = [left, f"{left / group.size:.0%}"]
        rows.append(row)
    headers = ["group", "channels", "producers", "depthwise", "consumers"]
    if kept is not None:
        headers[2:2] = ["kept", "share"]
    return tabulate(rows, headers=headers, tablefmt="github")


def _short(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - 2} more" if len(found) > 2 else ""
    return ", ".join(found[:2]) + more


def _collect(found: Trace) -> list[ChannelGroup]:
    """Units with the same members form a group; groups in the order of the forward pass."""
    where: dict[int, dict[tuple[str, str], list[int]]] = defaultdict(lambda: defaultdict(list))
    for layer in found.layers.values():
        sides: list[tuple[str, Labels]] = [("out", layer.outputs)]
        if layer.kind == "conv":
            sides.append(("in", layer.inputs))
        for side, labels in sides:
            for position, label in enumerate(labels.tolist()):
                if label not in found.fixed:
                    where[label][layer.name, side].append(position)
    units: dict[tuple[tuple[str, str, int], ...], list[int]] = defaultdict(list)
    for label, places in where.items():
        units[tuple((name, side, len(p)) for (name, side), p in places.items())].append(label)
    groups = []
    for signature, alike in units.items():
        members = tuple(
            Member(
                name,
                side,
                found.layers[name].kind,
                np.array([where[label][name, side] for label in alike]),
            )
            for name, side, _ in signature
        )
        producers = [m.layer for m in members if m.kind == "conv" and m.side == "out"]
        if producers:
            groups.append((producers[0], len(alike), members))
    return _named(groups)


def _named(groups: Sequence[tuple[str, int, tuple[Member, ...]]]) -> list[ChannelGroup]:
    """Groups that share their first producer are numbered."""
    counts: dict[str, int] = defaultdict(int)
    named = []
    for producer, size, members in groups:
        counts[producer] += 1
        name = producer if counts[producer] == 1 else f"{producer}#{counts[producer]}"
        named.append(ChannelGroup(name, size, members))
    return named
