"""Recipes: what a compression run does, as YAML with strict keys."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from compress.mask import EXCLUDED, SHARE, criterion_by_name
from compress.merge import Storage
from yolox.config import from_dict
from yolox.errors import UsageError
from yolox.exp.options import check_value, option_types


@dataclass(frozen=True)
class Recipe:
    """share: of the weights left out; exclude: words in the names of weights left alone.

    tune: options of the experiment for the fine-tune (max_epoch and so on); empty for none.
    encoding and values: how the merged checkpoint is stored.
    """

    share: float = SHARE
    criterion: str = "magnitude"
    exclude: tuple[str, ...] = EXCLUDED
    tune: dict[str, Any] = field(default_factory=dict)
    encoding: str = "bitmask"
    values: str = "fp32"

    def __post_init__(self) -> None:
        if not isinstance(self.share, int | float) or not 0.0 <= self.share < 1.0:
            raise ValueError(f"share {self.share!r} is not a number in 0..1")
        if self.tune and "max_epoch" not in self.tune:
            raise ValueError("tune needs max_epoch")
        criterion_by_name(self.criterion)
        Storage(self.encoding, self.values)


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe. Raises UsageError naming the file and what is wrong in it."""
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"recipe {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(
            f"recipe {path}: not valid YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(content, dict):
        raise UsageError(f"recipe {path}: expected keys and values at the top")
    recipe: Recipe = from_dict(Recipe, content, f"recipe {path}")
    types = option_types(recipe)
    for key, value in vars(recipe).items():
        check_value(f"recipe {path}: {key}", value, types[key])
    return recipe
