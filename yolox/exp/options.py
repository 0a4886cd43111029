"""Trailing `KEY VALUE` pairs, parsed by the type of the attribute they set."""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

from yolox.config import nearest
from yolox.errors import UsageError
from yolox.values import alternatives, describe, is_a, is_tuple, shown

Kind = TypeVar("Kind")

TRUE = ("true", "yes", "on", "1")
FALSE = ("false", "no", "off", "0")


def option_types(exp: object) -> dict[str, Any]:
    """Every option of an experiment with its type: the declared one, or that of its value."""
    found = {key: type(value) for key, value in vars(exp).items() if not key.startswith("_")}
    hints = get_type_hints(type(exp))
    found.update({key: hint for key, hint in hints.items() if not key.startswith("_")})
    return found


def options_of(*specs: type[Any] | Mapping[str, str]) -> Callable[[type[Kind]], type[Kind]]:
    """A class decorator: fields of specs become attributes, with their types and defaults.

    A mapping among the specs gives other names to some fields. What a class states itself, or has
    from its bases, stays as it is.
    """
    names = {k: v for part in specs if isinstance(part, Mapping) for k, v in part.items()}

    def add(kind: type[Kind]) -> type[Kind]:
        for spec in specs:
            if isinstance(spec, Mapping):
                continue
            hints = get_type_hints(spec)
            for field in fields(spec):
                key = names.get(field.name, field.name)
                if not hasattr(kind, key):
                    setattr(kind, key, field.default)
                    kind.__annotations__[key] = hints[field.name]
        return kind

    return add


def apply_options(exp: object, pairs: Sequence[str]) -> None:
    """Set attributes from ["key", "value", ...]. Raises UsageError as `parse_pairs`."""
    for key, value in parse_pairs(pairs, option_types(exp)).items():
        setattr(exp, key, value)


def parse_pairs(pairs: Sequence[str], known: Mapping[str, Any]) -> dict[str, Any]:
    """Values by key from ["key", "value", ...]. known: the type of each key.

    Raises UsageError for an unknown key (naming the nearest), a value of the wrong type, and a key
    without a value.
    """
    if len(pairs) % 2:
        raise UsageError(f"option {shown(pairs[-1])} has no value (options are KEY VALUE pairs)")
    values = {}
    for key, text in zip(pairs[::2], pairs[1::2], strict=True):
        if key not in known:
            raise UsageError(f"unknown option {shown(key)}{nearest(key, list(known))}")
        values[key] = parse_value(key, text, known[key])
    return values


def parse_value(key: str, text: str, kind: Any) -> Any:
    """The value that a text stands for. Raises UsageError naming key, value and type."""
    for alternative in alternatives(kind):
        try:
            return _parse_as(text, alternative)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    raise UsageError(f"option {key!r}: {shown(text)} is not {describe(kind)}")


def _parse_as(text: str, kind: Any) -> Any:
    if kind is type(None):
        if text.lower() != "none":
            raise ValueError(text)
        return None
    if kind is bool:
        if text.lower() not in TRUE + FALSE:
            raise ValueError(text)
        return text.lower() in TRUE
    value = kind(text) if kind in (int, float, str) else ast.literal_eval(text)
    if is_tuple(kind) and isinstance(value, tuple | list):
        value = tuple(value)
    if not is_a(value, kind):
        raise ValueError(text)
    return value
