"""Values that nobody expects, and ways to put them into nested content."""

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    3,
    64,
    1.0,
    0.5,
    -0.5,
    1e-320,
    1e30,
    1e308,
    float("inf"),
    float("-inf"),
    float("nan"),
    2**31,
    2**63 - 1,
    2**63,
    -(2**63) - 1,
    10**30,
    "",
    "0",
    "x",
    "nan",
    "silu",
    "é",
    "a\nb",
    "a" * 300,
    "../../x",
    "/",
    ".",
    "None",
    "%s{}",
    [],
    {},
    [1],
    [1, 2],
    [0, 0],
    [-64, 64],
    [64, 64],
    [1e9, 1e9],
    [10**9, 10**9],
    {"a": 1},
    {1: 2},
    [[]],
    [[[[[[1]]]]]],
    ["a", "b", "c"],
    [1, 2, 3],
    [None],
    [float("nan"), 1.0],
]
Path = tuple[Any, ...]


def places(content: Any, at: Path = ()) -> Iterator[Path]:
    """The path of every value within nested dictionaries and lists, but for the whole."""
    if isinstance(content, dict):
        items = list(content.items())
    elif isinstance(content, list | tuple):
        items = list(enumerate(content))
    else:
        return
    for key, value in items:
        yield (*at, key)
        yield from places(value, (*at, key))


def changed(content: Any, place: Path, change: str, value: Any) -> Any:
    """A copy with the value at a place put in, taken out or stored under another key."""
    if not place:
        return value
    key, *rest = place
    whole = list(content) if isinstance(content, tuple) else copy.copy(content)
    if rest:
        whole[key] = changed(whole[key], tuple(rest), change, value)
    elif change == "remove":
        del whole[key]
    elif change == "rename" and isinstance(whole, dict):
        whole[value if isinstance(value, str | int) else "other"] = whole.pop(key)
    else:
        whole[key] = value
    return whole


@st.composite
def mutations(draw: st.DrawFn, content: Any, values: list[Any] = VALUES) -> tuple[Path, Any]:
    """Where a content was changed, and the content after it."""
    place = draw(st.sampled_from(list(places(content))))
    change = draw(st.sampled_from(["replace", "replace", "replace", "remove", "rename"]))
    value = draw(st.sampled_from(values))
    return place, changed(content, place, change, value)
