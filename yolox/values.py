"""Whether a value is of the type that a hint names, and how types and values read in messages."""

import math
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

from yolox.errors import UsageError

LARGEST = 2**63 - 1  # what torch and numpy take as a whole number
SHOWN = 80  # characters of a value in a message


def check_value(key: str, value: Any, kind: Any) -> None:
    """Raises UsageError naming key, value and type where a value is of another type than `kind`.

    Numbers must be finite, whole numbers fit into 64 bits, and texts be valid Unicode without NUL.
    """
    if not any(is_a(value, alternative) for alternative in alternatives(kind)):
        raise UsageError(f"{key} {shown(value)} is not {describe(kind)}")


def check_keys(where: str, content: Any, kind: Any) -> None:
    """Raises UsageError naming the key where a content has not the keys and types of a TypedDict.

    kind: a TypedDict, a list of them, or such a thing or None; anything else is a plain type. Keys
    that the TypedDict does not name are not looked at.
    """
    kinds = alternatives(kind)
    if content is None and type(None) in kinds:
        return
    shape, inner = kinds[-1], get_args(kinds[-1])
    if is_typeddict(shape):
        if not isinstance(content, Mapping):
            raise UsageError(f"{where} {shown(content)} is not an object with keys")
        for key, hint in get_type_hints(shape).items():
            if key in content:
                check_keys(f"{where}.{key}", content[key], hint)
            elif key in shape.__required_keys__:
                raise UsageError(f"{where} has no {key}")
    elif get_origin(shape) is list and is_typeddict(inner[0]):
        check_value(where, content, list)
        for number, item in enumerate(content):
            check_keys(f"{where}[{number}]", item, inner[0])
    else:
        check_value(where, content, kind)


def is_a(value: Any, kind: Any) -> bool:
    """Whether a value is of a type: not a union, but items of tuples and mappings are looked at."""
    if kind is Any:
        return True
    if is_tuple(kind):
        inner = get_args(kind)
        if not isinstance(value, tuple | list):
            return False
        if not inner or Ellipsis in inner:
            return all(is_a(item, inner[0]) for item in value) if inner else True
        return len(value) == len(inner) and all(map(is_a, value, inner))
    if get_origin(kind) is dict:
        key, item = get_args(kind)
        return isinstance(value, Mapping) and all(
            is_a(k, key) and any(is_a(v, alternative) for alternative in alternatives(item))
            for k, v in value.items()
        )
    if kind is float:
        return (isinstance(value, float) and math.isfinite(value)) or is_whole(value)
    if kind is int:
        return is_whole(value)
    if kind is str:
        return isinstance(value, str) and is_clean(value)
    plain = get_origin(kind) or kind
    return isinstance(value, plain) if isinstance(plain, type) else True


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number of at most 64 bits; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def is_clean(text: str) -> bool:
    """Whether a text can be printed, and be part of a path: valid Unicode, no NUL."""
    return not any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in text)


def shown(value: Any) -> str:
    """A value for a message: its beginning, where it is long."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        if not isinstance(value, int):
            return "a value with a number of thousands of digits"
        return f"a number of about {value.bit_length() * 3 // 10} digits"
    except RecursionError:
        return "a value of very many levels"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"


def describe(kind: Any) -> str:
    """A type in words, for messages."""
    names = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}
    words = []
    for alternative in alternatives(kind):
        if alternative is type(None):
            words.append("None")
        elif is_tuple(alternative):
            inner = ", ".join(getattr(t, "__name__", "...") for t in get_args(alternative))
            words.append(f"a tuple ({inner})")
        elif alternative is dict or get_origin(alternative) is dict:
            inner = " to ".join(describe(t) for t in get_args(alternative))
            words.append(f"an object ({inner})" if inner else "an object")
        else:
            words.append(names.get(alternative, getattr(alternative, "__name__", str(alternative))))
    return " or ".join(words)


def alternatives(kind: Any) -> tuple[Any, ...]:
    """The parts of a union, None first (as text, "None" would be taken for a name); else itself."""
    is_union = get_origin(kind) in (Union, types.UnionType)
    return tuple(sorted(get_args(kind), key=lambda k: k is not type(None))) if is_union else (kind,)


def is_tuple(kind: Any) -> bool:
    """Whether a type is a tuple or a list."""
    return kind in (tuple, list) or get_origin(kind) in (tuple, list)
