"""What a model of a frontier must hold to be picked, as `--pick` says it."""

import re
from dataclasses import dataclass

from yolox.errors import UsageError

CONDITION = re.compile(r"\s*AP\s*>=\s*(\d*\.?\d+)\s*(?:\*\s*(dense|control))?\s*")


@dataclass(frozen=True)
class Condition:
    """AP at least `factor` times that of a point (None: at least `factor`)."""

    text: str
    factor: float
    reference: str | None

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """From 'AP>=0.4', 'AP>=0.95*dense' or 'AP>=0.98*control'. Raises UsageError."""
        found = CONDITION.fullmatch(text)
        if found is None:
            raise UsageError(f"--pick {text!r} is not of the form 'AP>=0.95*dense' or 'AP>=0.4'")
        return cls(text, float(found[1]), found[2])
