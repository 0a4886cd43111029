"""Trailing `KEY VALUE` pairs, parsed by the type of the attribute they set."""

import ast
import types
from collections.abc import Mapping, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

from yolox.config import nearest
from yolox.errors import UsageError

TRUE = ("true", "yes", "on", "1")
FALSE = ("false", "no", "off", "0")


def option_types(exp: object) -> dict[str, Any]:
    """Every option of an experiment with its type: the declared one, or that of its value."""
    found = {key: type(value) for key, value in vars(exp).items() if not key.startswith("_")}
    hints = get_type_hints(type(exp))
    found.update({key: hint for key, hint in hints.items() if not key.startswith("_")})
    return found


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
        raise UsageError(f"option {pairs[-1]!r} has no value (options are KEY VALUE pairs)")
    values = {}
    for key, text in zip(pairs[::2], pairs[1::2], strict=True):
        if key not in known:
            raise UsageError(f"unknown option {key!r}{nearest(key, list(known))}")
        values[key] = parse_value(key, text, known[key])
    return values


def parse_value(key: str, text: str, kind: Any) -> Any:
    """The value that a text stands for. Raises UsageError naming key, value and type."""
    for alternative in _alternatives(kind):
        try:
            return _parse_as(text, alternative)
        except (ValueError, SyntaxError):
            continue
    raise UsageError(f"option {key!r}: {text!r} is not {describe(kind)}")


def check_value(key: str, value: Any, kind: Any) -> None:
    """Raises UsageError where an attribute that an experiment file set has the wrong type."""
    if not any(_is_a(value, alternative) for alternative in _alternatives(kind)):
        raise UsageError(f"option {key!r}: {value!r} is not {describe(kind)}")


def describe(kind: Any) -> str:
    """A type in words, for messages."""
    names = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}
    words = []
    for alternative in _alternatives(kind):
        if alternative is type(None):
            words.append("None")
        elif _is_tuple(alternative):
            inner = ", ".join(getattr(t, "__name__", "...") for t in get_args(alternative))
            words.append(f"a tuple ({inner})")
        else:
            words.append(names.get(alternative, getattr(alternative, "__name__", str(alternative))))
    return " or ".join(words)


def _alternatives(kind: Any) -> tuple[Any, ...]:
    is_union = get_origin(kind) in (Union, types.UnionType)
    # None first: as text, "None" would be taken for a name.
    return tuple(sorted(get_args(kind), key=lambda k: k is not type(None))) if is_union else (kind,)


def _is_tuple(kind: Any) -> bool:
    return kind in (tuple, list) or get_origin(kind) in (tuple, list)


def _parse_as(text: str, kind: Any) -> Any:
    if kind is type(None):
        if text.lower() != "none":
            raise ValueError(text)
        return None
    if kind is bool:
        if text.lower() not in TRUE + FALSE:
            raise ValueError(text)
        return text.lower() in TRUE
    if kind in (int, float, str):
        return kind(text)
    value = ast.literal_eval(text)
    if _is_tuple(kind) and isinstance(value, tuple | list):
        value = tuple(value)
    if not _is_a(value, kind):
        raise ValueError(text)
    return value


def _is_a(value: Any, kind: Any) -> bool:
    if _is_tuple(kind):
        inner = get_args(kind)
        if not isinstance(value, tuple | list):
            return False
        if not inner or Ellipsis in inner:
            return all(_is_a(item, inner[0]) for item in value) if inner else True
        return len(value) == len(inner) and all(map(_is_a, value, inner))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    plain = get_origin(kind) or kind
    return isinstance(value, plain) if isinstance(plain, type) else True
