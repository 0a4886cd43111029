"""Which layers stay float so that an INT8 model keeps its accuracy.

Layers are ranked by the damage that quantising them alone does. The most sensitive ones become
float, their number doubling until the floor holds; then bisection finds the fewest that do. Where
the worst layer is one of the first, all before it are float, too: a float beginning costs one
conversion, a float layer amid quantised ones two, and the ranges of its input are often the reason.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loguru import logger

from yolox.errors import ExportError
from yolox.export.quantize import Quantizer

Measure = Callable[[Path], float]
BEGINNING = 4  # layers, at most, that are float because the worst is among them


@dataclass
class QuantReport:
    """What a search found. `trail`: AP by number of float layers, in the order tried.

    float_layers: the layers left float with the damage that 8 bits would do to each alone.
    ap_float, ap_int8: fractions; None where nothing was evaluated.
    chosen_on: the images that both were measured on, in words.
    """

    ap_float: float | None = None
    ap_int8: float | None = None
    layers: int = 0
    float_layers: dict[str, float] = field(default_factory=dict)
    trail: list[tuple[int, float]] = field(default_factory=list)
    chosen_on: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For the log: the trail, then the float layers with their damage."""
        steps = ", ".join(f"{count}: {ap:.4f}" for count, ap in self.trail)
        found = [f"AP by number of float layers (of {self.layers}): {steps}"]
        if self.chosen_on:
            found.append(f"that AP is of {self.chosen_on}")
        if self.float_layers:
            found.append("float, with the damage 8 bits would do to detections:")
            found += [f"  {name}  {damage:.4f}" for name, damage in self.float_layers.items()]
        return found


def quantise_to_floor(
    quantizer: Quantizer,
    damage: Mapping[str, float],
    target: Path,
    measure: Measure,
    ap_float: float,
    max_drop: float,
) -> QuantReport:
    """Write the file with the fewest float layers whose AP is at most `max_drop` below the float's.

    damage: of `layer_damage`, most sensitive first. measure: AP of a file. Raises ExportError
    where no number of float layers is enough.
    """
    order = float_order(damage, list(quantizer.layers.members))
    report = QuantReport(ap_float=ap_float, layers=len(order))
    tried: dict[int, float] = {}

    def holds(count: int) -> bool:
        if count not in tried:
            candidate = target.with_name(f".candidate.{target.name}")
            try:
                quantizer.write(candidate, order[:count])
                tried[count] = measure(candidate)
                if tried[count] >= ap_float - max_drop or not target.exists():
                    _replace(candidate, target)  # each that holds has fewer than the one before
            finally:
                for part in candidate.parent.glob(f"{candidate.stem}.*"):
                    part.unlink()
            report.trail.append((count, tried[count]))
            logger.info(
                "{} of {} layers float: AP {:.4f}, float model {:.4f}",
                count,
                len(order),
                tried[count],
                ap_float,
            )
        return tried[count] >= ap_float - max_drop

    best = fewest(holds, len(order))
    if best is None:
        raise ExportError(
            f"INT8 stays {ap_float - max(tried.values()):.4f} AP below the float model, "
            f"{max_drop} is allowed: " + "; ".join(report.lines()[:1])
        )
    report.ap_int8 = tried[best]
    report.float_layers = {name: damage[name] for name in order[:best]}
    return report


def float_order(damage: Mapping[str, float], graph: Sequence[str]) -> list[str]:
    """The layers, those first that become float first.

    damage: by layer, most sensitive first. graph: layers in the order in which they run.
    """
    worst = next(iter(damage), None)
    reached = [name for name in graph if name in damage]
    place = reached.index(worst) if worst in reached else BEGINNING
    beginning = reached[: place + 1] if place < BEGINNING else []
    return [*beginning, *(name for name in damage if name not in beginning)]


def _replace(candidate: Path, target: Path) -> None:
    """Put a candidate in the target's place, with the weights that OpenVINO keeps beside it."""
    for part in list(candidate.parent.glob(f"{candidate.stem}.*")):
        part.replace(target.with_suffix(part.suffix))


def fewest(holds: Callable[[int], bool], most: int) -> int | None:
    """The least count in 0..most that holds, found by doubling and bisection; None where none does.

    More need not always be better, so the answer is a count that was seen to hold, below which the
    ones tried did not.
    """
    low, high = -1, 0
    while not holds(high):
        if high == most:
            return None
        low, high = high, min(max(2 * high, 1), most)
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high
