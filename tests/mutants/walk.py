"""All faults of a source file: a changed expression, or a statement left out.

What no test could notice is not made: texts, annotations, what is raised or logged, assertions,
and what only changes speed or a progress bar.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.mutants.operators import QUIET_KEYWORDS, changes, function_name, without_keywords

#: Statements and calls that log, or only make things faster.
QUIET = re.compile(
    r"logger\.|warnings\.|warn\(|print\(|bar\.|cv2\.setNumThreads|\w+ = \w+\.contiguous\("
    r"|torch\.backends|tqdm\(|__all__|.*cudnn|if TYPE_CHECKING"
)
SKIPPED_FUNCTIONS = ("__repr__", "__str__")
SHOWN = 90  # letters of an expression


@dataclass(frozen=True)
class Mutant:
    """One fault. lines: first and last of the statement; scope: of its function's body, if any."""

    file: str
    line: int
    before: str
    after: str
    source: str
    lines: tuple[int, int]
    scope: tuple[int, int] | None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.before}  ->  {self.after}"


def mutants(file: str, source: str) -> list[Mutant]:
    """All faults of a file, in the order of their places."""
    walker = _Walker(file, source)
    for statement in ast.parse(source).body:
        walker.statement(statement)
    return sorted(set(walker.found), key=lambda m: (m.line, m.before, m.after, m.source))


class _Walker:
    """Walks a module with the statement and the function that it is in."""

    def __init__(self, file: str, source: str):
        self.found: list[Mutant] = []
        self._file, self._data = file, source.encode()
        self._starts = [0]
        for line in self._data.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._statement: ast.stmt | None = None
        self._function: ast.FunctionDef | None = None
        self._bound: set[str] = set()  # names that the function has given a value so far

    def statement(self, node: ast.stmt) -> None:
        """Faults of a statement and of all that is in it."""
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            self._definition(node)
        elif not _is_quiet(node):
            outer, self._statement = self._statement, node
            self._left_out(node)
            for child in _parts(node):
                if isinstance(child, ast.stmt):
                    self.statement(child)
                else:
                    self._expression(child)
            if isinstance(node, ast.If | ast.While):
                self._condition(node.test)
            stored = (part for part in ast.walk(node) if isinstance(part, ast.Name))
            self._bound |= {part.id for part in stored if isinstance(part.ctx, ast.Store)}
            self._statement = outer

    def _definition(self, node: ast.FunctionDef | ast.ClassDef) -> None:
        if node.name in SKIPPED_FUNCTIONS:
            return
        before = self._function, self._bound, self._statement
        if isinstance(node, ast.FunctionDef):
            self._function = self._statement = node
            arguments = node.args
            self._bound = {a.arg for a in [*arguments.args, *arguments.kwonlyargs]}
            for default in filter(None, [*arguments.defaults, *arguments.kw_defaults]):
                self._expression(default)
        for statement in node.body:
            self.statement(statement)
        self._function, self._bound, self._statement = before

    def _left_out(self, node: ast.stmt) -> None:
        """Statements whose absence still lets the code run, and what a function returns."""
        if isinstance(node, ast.Return) and node.value is not None:
            if not (isinstance(node.value, ast.Constant) and node.value.value is None):
                self._add(node.value, "None")
        elif isinstance(node, ast.AugAssign) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        ):
            self._add(node, "pass")
        elif isinstance(node, ast.Assign) and self._function is not None:
            target = node.targets[0]
            again = isinstance(target, ast.Name) and target.id in self._bound
            kept = isinstance(target, ast.Attribute) and self._function.name != "__init__"
            if again or kept or isinstance(target, ast.Subscript):
                self._add(node, "pass")

    def _condition(self, test: ast.expr) -> None:
        if not isinstance(test, ast.Compare | ast.UnaryOp):  # these are turned round themselves
            self._add(test, f"not ({ast.unparse(test)})")

    def _expression(self, node: ast.AST) -> None:
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Call) and _is_quiet(node)):
            return
        if isinstance(node, ast.expr):
            for changed in changes(node):
                self._add(node, ast.unparse(changed))
        if isinstance(node, ast.Call):
            for name, less in without_keywords(node):
                self._add(node, ast.unparse(less), f"without {name}")
        for test in [node.test] if isinstance(node, ast.IfExp) else getattr(node, "ifs", []):
            self._condition(test)
        for child in ast.iter_child_nodes(node):
            quiet = isinstance(child, ast.keyword) and child.arg in QUIET_KEYWORDS
            if not quiet and isinstance(child, ast.keyword | ast.expr | ast.comprehension):
                self._expression(child)

    def _add(self, node: ast.expr | ast.stmt, after: str, said: str = "") -> None:
        start = self._starts[node.lineno - 1] + node.col_offset
        end = self._starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        put = after if isinstance(node, ast.stmt) else f"({after})"
        changed = self._data[:start] + put.encode() + self._data[end:]
        scope = None
        if self._function is not None:
            scope = (self._function.body[0].lineno, self._function.end_lineno or 0)
        whole = self._statement  # but for one that holds others
        place = node if whole is None or hasattr(whole, "body") else whole
        self.found.append(
            Mutant(
                self._file,
                node.lineno,
                _short(self._data[start:end].decode()),
                said or _short(after),
                changed.decode(),
                (place.lineno, place.end_lineno or place.lineno),
                scope,
            )
        )


def _parts(node: ast.stmt) -> Iterator[ast.stmt | ast.expr]:
    """Statements and expressions directly inside, but for annotations."""
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.ExceptHandler):
                yield from child.body
            elif isinstance(child, ast.withitem):
                yield child.context_expr
            elif isinstance(child, ast.stmt | ast.expr) and field != "annotation":
                yield child


def _is_quiet(node: ast.stmt | ast.Call) -> bool:
    if isinstance(node, ast.Call):
        return function_name(node) == "isinstance" or bool(QUIET.match(ast.unparse(node)))
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    kinds = ast.Raise | ast.Assert | ast.Import | ast.ImportFrom
    return docstring or isinstance(node, kinds) or bool(QUIET.match(ast.unparse(node)))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 3]}..."
