"""Faults of one expression: what else could have been written in its place."""

import ast
from collections.abc import Iterator

COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
PAIRS = [
    ("min", "max"),
    ("amin", "amax"),
    ("argmin", "argmax"),
    ("minimum", "maximum"),
    ("any", "all"),
    ("floor", "ceil"),
]
SWAPPED = {**dict(PAIRS), **{after: before for before, after in PAIRS}}
TINY = 1e-6  # smaller constants only keep divisions and logarithms defined
#: Options that only change speed, or what a progress bar or a help text shows.
QUIET_KEYWORDS = {
    "desc",
    "disable",
    "total",
    "initial",
    "indent",
    "encoding",
    "strict",
    "frozen",
    "tablefmt",
    "non_blocking",
    "memory_format",
    "pin_memory",
    "set_to_none",
    "dtype",
    "device",
    "help",
}


def changes(node: ast.expr) -> Iterator[ast.expr]:
    """Other expressions for this one; its parts are not looked at."""
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                ops = [*node.ops[:place], other(), *node.ops[place + 1 :]]
                yield ast.Compare(node.left, ops, node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield node.operand
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        if not any(_is_text(side) or _is_tiny(side) for side in (node.left, node.right)):
            yield ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
    elif isinstance(node, ast.Constant):
        yield from map(ast.Constant, _other_values(node.value))
    elif isinstance(node, ast.Call):
        yield from _other_functions(node)


def without_keywords(node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """The call without each of its keyword arguments, by their names."""
    for keyword in node.keywords:
        if keyword.arg is not None and keyword.arg not in QUIET_KEYWORDS:
            rest = [other for other in node.keywords if other is not keyword]
            yield keyword.arg, ast.Call(node.func, node.args, rest)


def function_name(node: ast.Call) -> str | None:
    """The last part of what is called."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else None


def _other_values(value: object) -> list[object]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value * 2 if value > 1 else value - 1]
    if isinstance(value, float) and abs(value) > TINY:
        return [value * 2, -value]
    return [1.0] if isinstance(value, float) and value == 0 else []


def _other_functions(node: ast.Call) -> Iterator[ast.expr]:
    name = function_name(node)
    if name in SWAPPED:
        yield ast.Call(_renamed(node.func, SWAPPED[name]), node.args, node.keywords)
    if name == "clamp" and len(node.keywords) == 1 and node.keywords[0].arg in SWAPPED:
        keyword = node.keywords[0]
        other = ast.keyword(SWAPPED[keyword.arg], keyword.value)
        yield ast.Call(node.func, node.args, [other])


def _renamed(function: ast.expr, name: str) -> ast.expr:
    if isinstance(function, ast.Attribute):
        return ast.Attribute(function.value, name, ast.Load())
    return ast.Name(name, ast.Load())


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _is_tiny(node: ast.expr) -> bool:
    value = node.value if isinstance(node, ast.Constant) else None
    return isinstance(value, float) and abs(value) <= TINY
