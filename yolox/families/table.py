"""Which families there are, and how checkpoints state one."""

from collections.abc import Mapping
from typing import Any

from yolox.config import from_dict, nearest, to_dict
from yolox.errors import UsageError
from yolox.families.base import DetectorSpec
from yolox.families.centernet.spec import CenterNetSpec
from yolox.families.efficientdet.spec import EfficientDetSpec
from yolox.families.yolox.spec import YoloxSpec
from yolox.values import shown

KEY = "family"  # in a stored spec; one without it is YOLOX's

FAMILIES: dict[str, type[DetectorSpec]] = {
    spec.family: spec for spec in (YoloxSpec, CenterNetSpec, EfficientDetSpec)
}


def spec_to_dict(spec: DetectorSpec) -> dict[str, Any]:
    """A spec as checkpoints state it: plain values, and the family's name."""
    named = {} if spec.family == YoloxSpec.family else {KEY: spec.family}
    return {**named, **to_dict(spec)}


def family_of(stored: Mapping[str, Any]) -> Any:
    """The name of the family of a stored spec."""
    return stored.get(KEY, YoloxSpec.family)


def spec_from_dict(
    values: Mapping[str, Any], where: str, known: type[DetectorSpec] | None = None
) -> DetectorSpec:
    """Read it back, strictly. Raises UsageError naming `where`, and the key or the family.

    known: the spec of the experiment, for a family that the user has added.
    """
    name = family_of(values)
    values = {key: value for key, value in values.items() if key != KEY}
    kind = known if known is not None and known.family == name else FAMILIES.get(str(name))
    if kind is None:
        raise UsageError(
            f"{where}: family {shown(name)} is none of {', '.join(FAMILIES)}"
            f"{nearest(name, list(FAMILIES))} (if it is your own, name its experiment file with -f)"
        )
    spec: DetectorSpec = from_dict(kind, values, where)
    return spec
