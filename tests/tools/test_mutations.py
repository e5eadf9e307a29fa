"""The mutations of a module: which there are, which there are not, and that each is one small change."""

from __future__ import annotations

import ast
from pathlib import Path
from textwrap import dedent

import pytest
from mutations import mutations

SPOOL = sorted((Path(__file__).parents[2] / "core" / "dicomnode" / "host" / "spool").glob("*.py"))


def mutants(source: str, kind: str | None = None) -> list[str]:
    text = dedent(source)
    return [each.apply(text).strip() for each in mutations(text) if kind in (None, each.kind)]


@pytest.mark.parametrize(
    ("kind", "source", "expected"),
    [
        ("comparison", "x = a < b", ["x = (a <= b)"]),
        ("comparison", "x = a <= b < c", ["x = (a < b < c)", "x = (a <= b <= c)"]),
        ("comparison", "x = a is not b", ["x = (a is b)"]),
        ("comparison", "x = a in b", ["x = (a not in b)"]),
        ("condition", "y = 1 if a else 2", ["y = 1 if (not (a)) else 2"]),
        ("condition", "y = [e for e in f if e]", ["y = [e for e in f if (not (e))]"]),
        ("boolean", "x = not a", ["x = (a)"]),
        ("boolean", "x = a and b", ["x = (a or b)"]),
        ("constant", "x = True", ["x = False"]),
        ("constant", "x = 7", ["x = 8"]),
        ("constant", "x = 0.5", ["x = 2.0"]),
        ("constant", "x = -1", ["x = 1"]),
        ("constant", "x = 'key'", ["x = 'key_mutated'"]),
        ("constant", "x = b'ab'", ["x = b'ab_'"]),
        ("statement", "a.b = c", ["pass"]),
        ("statement", "f(a)", ["pass"]),
        ("statement", "raise a", ["pass"]),
        ("statement", "del a[b]", ["pass"]),
        ("statement", "a += b", ["pass"]),
        ("statement", "while a: break", ["while a: continue"]),
        ("statement", "while a: continue", ["while a: break"]),
        ("return", "def f(): return a", ["def f(): return None"]),
        ("arithmetic", "x = a + b", ["x = (a - b)"]),
        ("arithmetic", "a += b", ["a -= b"]),
        ("arithmetic", "x = a | b", ["x = (a & b)"]),
        ("arguments", "x = f(a, b.c)", ["x = f(b.c, a)"]),
        ("arguments", "x = f(a, k=b)", ["x = f(a)"]),
    ],
)
def test_what_is_changed(kind: str, source: str, expected: list[str]) -> None:
    """Each kind of mutation, in the smallest source that has it."""
    assert mutants(source, kind) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring."""',
        "x: int",
        "x = a",
        "import a",
        "from a import b",
        "__all__ = ['a']",
        "class A(Protocol):\n    x = 1",
        "@cached(1)\ndef f(a: Literal['b']) -> Literal['c']: ...",
        "if TYPE_CHECKING:\n    x = 1",
        "_LOG.warning('%s', 1)",
        "x = 'a text for people'",
        "x = f'{a + 1}'",
        "failpoint('written')",
        "x = isinstance(a, b)",
        "x = max(a, b)",
        "def f(): return None",
        "class A:\n    def __init__(self): self.a = b",
    ],
)
def test_what_is_left_alone(source: str) -> None:
    """Prose, descriptions of types, the log, and what would fail wherever it is run."""
    assert mutants(source) == []


def test_what_an_error_says_is_left_alone() -> None:
    """That it is raised is what counts: there is no mutant of its arguments."""
    assert mutants("raise ValueError(1)") == ["pass"]


@pytest.mark.parametrize("path", SPOOL, ids=lambda path: path.stem)
def test_mutants_are_modules(path: Path) -> None:
    """Every mutant of a module of ours can be compiled, differs from all others, and has a diff."""
    source = path.read_text()
    made = mutations(source)
    texts = {each.apply(source) for each in made}
    assert len(texts) == len(made) == len({each.key for each in made})
    assert source not in texts
    for each in made:
        ast.parse(each.apply(source))
        assert f"@@ -{each.line}" in each.diff(source, path.name)


def test_text_before_a_change_may_be_in_any_script() -> None:
    """Places are counted in bytes, as the parser does, and not in characters."""
    assert mutants("x = 'a äöü 日本'; y = 1") == ["x = 'a äöü 日本'; y = 2"]
