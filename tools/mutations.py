"""The small changes ("mutations") that tools/mutate.py makes to a module, one at a time.

Each is a replacement of one piece of the source text, so that a survivor can be read as a diff. Left alone is
what no test should hold still: docstrings, prose (a text with a space in it), f-strings, annotations,
decorators, log messages, the arguments of ``raise``, and the names that a kill test stops at.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_OPPOSITES: Final = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)
_CALLS_LEFT_ALONE: Final = frozenset({"failpoint", "cast", "TypeVar", "getLogger"})
_LOGGERS: Final = frozenset({"_LOG", "_log"})
_LEFT_ALONE: Final = (ast.Import, ast.ImportFrom, ast.JoinedStr)


@dataclass(frozen=True)
class Mutation:
    """One change of a source text.

    Attributes
    ----------
    kind : str
        What was changed: ``comparison``, ``condition``, ``boolean``, ``constant``, ``statement``, ``return``,
        ``arithmetic``, ``arguments``.
    line, last_line : int
        The lines that are replaced, from 1.
    start, end : int
        The bytes of the source (UTF-8) that are replaced.
    text : str
        What stands there afterwards.
    """

    kind: str
    line: int
    last_line: int
    start: int
    end: int
    text: str

    @property
    def key(self) -> str:
        """A name that stays the same as long as the source does."""
        return f"{self.line}:{self.start}-{self.end}:{self.kind}:{self.text}"

    def apply(self, source: str) -> str:
        """Return the source with this change."""
        data = source.encode()
        return (data[: self.start] + self.text.encode() + data[self.end :]).decode()

    def diff(self, source: str, name: str) -> str:
        """Return the change as a unified diff without context."""
        before, after = source.splitlines(), self.apply(source).splitlines()
        return "\n".join(difflib.unified_diff(before, after, name, name, lineterm="", n=0))


def mutations(source: str) -> list[Mutation]:
    """Return every mutation of a module's source, in the order of the text."""
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    found = {
        (each.start, each.end, each.text): each
        for each in finder.found
        if each.apply(source) != source and _compiles(each.apply(source))
    }
    return sorted(found.values(), key=lambda each: (each.start, each.end, each.kind, each.text))


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


class _Finder(ast.NodeVisitor):
    """Collects the mutations of a module."""

    def __init__(self, source: str) -> None:
        self.found: list[Mutation] = []
        self._function_name = ""
        self._line_starts = [0]
        for line in source.encode().splitlines(keepends=True):
            self._line_starts.append(self._line_starts[-1] + len(line))

    # -- what is left alone -------------------------------------------------------------------------------

    def visit(self, node: ast.AST) -> None:
        """Look for mutations of a node and of what it consists of."""
        # Positions in an f-string are not those of the source before Python 3.12.
        if not isinstance(node, _LEFT_ALONE) and not _is_left_alone(node):
            super().visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Look at the body of a class, unless it is only a description."""
        if not any("Protocol" in ast.unparse(base) for base in node.bases):
            self._visit_all(node.body)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Look at defaults and body, not at annotations and decorators."""
        outer, self._function_name = self._function_name, node.name
        self._visit_all([*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body])
        self._function_name = outer

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]  # noqa: N815 - the name that ast calls

    # -- statements ---------------------------------------------------------------------------------------

    def visit_Expr(self, node: ast.Expr) -> None:
        """Remove a call; leave documentation alone."""
        if isinstance(node.value, ast.Constant) or _is_left_alone(node.value):
            return
        if isinstance(node.value, ast.Call | ast.Await):
            self._replace("statement", node, "pass")
        self.visit(node.value)

    def visit_Return(self, node: ast.Return) -> None:
        """Return None in place of a value."""
        if node.value is None:
            return
        # Whoever is told False goes on as if it were told None.
        if not (isinstance(node.value, ast.Constant) and node.value.value in {None, False}):
            self._replace("return", node, "return None")
        self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:
        """Raise nothing."""
        self._replace("statement", node, "pass")

    def visit_Delete(self, node: ast.Delete) -> None:
        """Delete nothing."""
        self._replace("statement", node, "pass")

    def visit_Break(self, node: ast.Break) -> None:
        """Go on with the next round in place of ending a loop."""
        self._replace("statement", node, "continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        """End a loop in place of going on with the next round."""
        self._replace("statement", node, "break")

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Look at the value, not at the annotation."""
        if node.value is not None:
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        """Remove an assignment to something that is there already."""
        if any(isinstance(each, ast.Name) and each.id in {"__all__", "__slots__"} for each in node.targets):
            return
        # What is never bound fails at once wherever it is read: such a mutant says nothing about the tests.
        names = self._function_name == "__init__" or any(isinstance(each, ast.Name) for each in node.targets)
        if not names:
            self._replace("statement", node, "pass")
        self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """Remove a change of a value, or change it in the other direction."""
        self._replace("statement", node, "pass")
        if type(node.op) in _OPERATORS:
            changed = ast.AugAssign(node.target, _OPERATORS[type(node.op)](), node.value)
            self._replace("arithmetic", node, ast.unparse(changed))
        self.visit(node.value)

    def visit_If(self, node: ast.If) -> None:
        """Negate the condition."""
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            self._negate(node.test)
            self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        """Negate the condition."""
        self._negate(node.test)
        self.generic_visit(node)

    # -- expressions --------------------------------------------------------------------------------------

    def visit_IfExp(self, node: ast.IfExp) -> None:
        """Negate the condition."""
        self._negate(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        """Negate the conditions."""
        for test in node.ifs:
            self._negate(test)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        """Replace each comparison by its nearest other."""
        for place, operator in enumerate(node.ops):
            flipped = [*node.ops[:place], _COMPARISONS[type(operator)](), *node.ops[place + 1 :]]
            changed = ast.Compare(node.left, flipped, node.comparators)
            self._replace("comparison", node, f"({ast.unparse(changed)})")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        """Remove a negation, or a sign."""
        if isinstance(node.op, ast.Not):
            self._replace("boolean", node, f"({ast.unparse(node.operand)})")
        if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            self._replace("constant", node, ast.unparse(node.operand))  # -1 and -2 often mean the same
        else:
            self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """Exchange "and" and "or"."""
        other = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        self._replace("boolean", node, f"({ast.unparse(ast.BoolOp(other, node.values))})")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Replace an operator by its opposite."""
        if type(node.op) in _OPERATORS:
            changed = ast.BinOp(node.left, _OPERATORS[type(node.op)](), node.right)
            self._replace("arithmetic", node, f"({ast.unparse(changed)})")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Replace a constant by one beside it."""
        value = node.value
        if isinstance(value, bool):
            self._replace("constant", node, repr(not value))
        elif isinstance(value, int):
            self._replace("constant", node, str(value + 1))
        elif isinstance(value, float):
            self._replace("constant", node, repr(value * 2 + 1))
        elif isinstance(value, str) and value and not any(each.isspace() for each in value):
            self._replace("constant", node, repr(value + "_mutated"))
        elif isinstance(value, bytes) and value:
            self._replace("constant", node, repr(value + b"_"))

    def visit_Call(self, node: ast.Call) -> None:
        """Exchange two positional arguments that are names; leave out an argument given by keyword."""
        match node.args:
            case [ast.Name() | ast.Attribute() as one, ast.Name() | ast.Attribute() as other]:
                if not _is_called(node, {"isinstance", "issubclass", "max", "min"}):
                    swapped = ast.Call(node.func, [other, one], node.keywords)
                    self._replace("arguments", node, ast.unparse(swapped))
        for place, keyword in enumerate(node.keywords):
            if keyword.arg is not None:
                kept = [each for at, each in enumerate(node.keywords) if at != place]
                self._replace("arguments", node, ast.unparse(ast.Call(node.func, node.args, kept)))
        self.generic_visit(node)

    # -- help ---------------------------------------------------------------------------------------------

    def _visit_all(self, nodes: Iterable[ast.AST]) -> None:
        for each in nodes:
            self.visit(each)

    def _negate(self, test: ast.expr) -> None:
        """Negate a condition, unless replacing its operator does the same."""
        if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], _OPPOSITES):
            return
        if not isinstance(test, ast.UnaryOp | ast.Constant):
            self._replace("condition", test, f"(not ({ast.unparse(test)}))")

    def _replace(self, kind: str, node: ast.stmt | ast.expr, text: str) -> None:
        last = node.end_lineno or node.lineno
        start = self._line_starts[node.lineno - 1] + node.col_offset
        end = self._line_starts[last - 1] + (node.end_col_offset or 0)
        self.found.append(Mutation(kind, node.lineno, last, start, end, text))


def _is_called(call: ast.Call, names: set[str]) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id in names


def _is_left_alone(node: ast.AST) -> bool:
    """Whether an expression is a message to the log, or a call that no test should hold still."""
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    if isinstance(called, ast.Attribute):
        owner = called.value
        return (owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")) in _LOGGERS
    return isinstance(called, ast.Name) and called.id in _CALLS_LEFT_ALONE
