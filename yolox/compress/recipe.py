"""Recipes: what a compression run does, as YAML with strict keys."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from yolox.compress.steps import (
    BUDGETS,
    AdaptStep,
    Int8Step,
    MaskStep,
    PruneStep,
    RecoverStep,
    Storage,
)
from yolox.config import from_dict, nearest
from yolox.config_text import read_text, yaml_value
from yolox.errors import UsageError
from yolox.values import shown


@dataclass(frozen=True)
class Recipe:
    """What each stage does; a stage that is None is left out."""

    mask: MaskStep | None = None
    prune: PruneStep | None = None
    adapt: AdaptStep | None = field(default_factory=AdaptStep)
    recover: RecoverStep | None = None
    merge: Storage = field(default_factory=Storage)
    int8: Int8Step | None = None

    def __post_init__(self) -> None:
        if not self.takes_away and self.int8 is None:
            raise ValueError("neither mask, prune nor int8: there is nothing to compress")

    @property
    def takes_away(self) -> bool:
        """Whether weights or channels go."""
        return self.mask is not None or self.prune is not None

    @property
    def needs_images(self) -> bool:
        """Whether calibration images are needed."""
        steps = (self.mask, self.prune, self.adapt, self.int8)
        return any(step is not None and step.needs_images for step in steps)


def _sections() -> dict[str, type[Any]]:
    """The keys of a recipe whose values are steps, from the fields of `Recipe`."""
    kinds = {key: (*get_args(hint), hint)[0] for key, hint in get_type_hints(Recipe).items()}
    return {
        key: kind for key, kind in kinds.items() if isinstance(kind, type) and is_dataclass(kind)
    }


def half_the_model() -> Recipe:
    """Half of the parameters and of the MACs, and a recovery whose schedule the data give."""
    return Recipe(prune=PruneStep(params=0.5, macs=0.5), recover=RecoverStep())


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe. Raises UsageError naming the file and what is wrong in it."""
    content = _read_yaml(Path(path))
    if not isinstance(content, dict):
        raise UsageError(f"recipe {path}: expected keys and values at the top")
    sections = _sections()
    for key, value in content.items():
        if key not in sections:
            raise UsageError(
                f"recipe {path}: unknown key {shown(key)}{nearest(key, list(sections))}"
            )
        if not isinstance(value, dict) and not (key == "adapt" and value is None):
            raise UsageError(f"recipe {path}: {key} has no keys and values")
    parts: dict[str, Any] = {
        key: from_dict(kind, _nested(kind, content[key]), f"recipe {path}: {key}")
        for key, kind in sections.items()
        if content.get(key) is not None
    }
    if "adapt" in content and content["adapt"] is None:
        parts["adapt"] = None
    return _checked(lambda: Recipe(**parts), f"recipe {path}")


def _nested(kind: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """The values of a section, those that belong to the experiment under `options`."""
    if kind is not RecoverStep:
        return values
    own = {field.name for field in fields(RecoverStep)} - {"options"}
    options = {key: value for key, value in values.items() if key not in own}
    return {**{key: value for key, value in values.items() if key in own}, "options": options}


def _read_yaml(path: Path) -> Any:
    """Raises UsageError naming the file and what is wrong in it."""
    try:
        return yaml_value(read_text(path, "recipe"))
    except ValueError as error:
        raise UsageError(f"recipe {path}: not valid YAML: {error}") from error


def with_overrides(
    recipe: Recipe, share: float | None, budgets: Mapping[str, float], recover: bool
) -> Recipe:
    """A recipe with what the command line says. Raises UsageError.

    share: of weights to mask. budgets: values by name; take the place of the recipe's.
    """

    def changed() -> Recipe:
        mask, prune = recipe.mask, recipe.prune
        if share is not None:
            mask = replace(mask or MaskStep(), share=share)
        if budgets:
            fresh: dict[str, Any] = {**dict.fromkeys(BUDGETS), **budgets}
            prune = replace(prune, **fresh) if prune is not None else PruneStep(**fresh)
        wanted = recipe.recover if recover else None
        return replace(recipe, mask=mask, prune=prune, recover=wanted)

    return _checked(changed, "recipe")


def _checked(make: Any, where: str) -> Recipe:
    try:
        recipe: Recipe = make()
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: {error}") from error
    return recipe
