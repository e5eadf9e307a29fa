"""Modules as text: found, parsed, and names followed through imports, without running anything."""

from __future__ import annotations

import ast
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dicomnode.plugins.source import Module, SourceError, Sources

Write = Callable[..., Sources]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return what writes modules by path, and returns sources that find them."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(**modules: str) -> Sources:
        for name, text in modules.items():
            path = tmp_path / f"{name.replace('__in__', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return Sources()

    return write


def module_of(sources: Sources, name: str) -> Module:
    """Return a module that is there."""
    found = sources.module(name)
    assert found is not None
    return found


def defined(sources: Sources, name: str, expression: str) -> tuple[str, int] | None:
    """Return module and line of what an expression refers to in a module."""
    found = sources.resolve(module_of(sources, name), ast.parse(expression, mode="eval").body)
    return None if found is None else (found[0].name, found[1].lineno)


def test_a_module_is_found_and_not_run(write: Write) -> None:
    """A module that would fail is parsed; one that is not there is none."""
    sources = write(sourced="raise SystemExit\nx = 1")
    assert module_of(sources, "sourced").bindings.keys() == {"x"}
    assert sources.module("sourced.inner") is None
    assert sources.module("not_there_at_all") is None
    assert not sources.exists("not_there_at_all")
    assert sources.exists("sourced")
    assert sources.text("sourced") == "raise SystemExit\nx = 1"


@pytest.mark.parametrize(
    ("text", "message"),
    [("x = (", "sourced:1 cannot be imported: SyntaxError"), ("x = '\0'", "sourced.* cannot be imported")],
)
def test_a_module_that_cannot_be_parsed(write: Write, text: str, message: str) -> None:
    """The line is named: an import would certainly fail there."""
    with pytest.raises(SourceError, match=message):
        write(sourced=text).module("sourced")


def test_names_of_every_statement(write: Write) -> None:
    """Definitions, assignments and imports at the top, within ``if``, ``try`` and ``with``, in order."""
    text = (
        "import os.path, json as j\nfrom re import match, sub as s\n"
        "class A: inner = 1\ndef f(): local = 1\n"
        "if x:\n    a = 1\nelse:\n    a = 2\n"
        "try:\n    b: int = 3\nexcept OSError:\n    b = 4\nfinally:\n    c = 5\n"
        "with y:\n    d = 6\n"
    )
    bindings = module_of(write(sourced=text), "sourced").bindings
    assert {name: len(bound) for name, bound in bindings.items()} == {
        "os": 1, "j": 1, "match": 1, "s": 1, "A": 1, "f": 1, "a": 2, "b": 2, "c": 1, "d": 1,
    }  # fmt: skip


def test_names_are_followed_through_imports(write: Write) -> None:
    """From module to module, relative imports and ``as`` included, to the definition."""
    sources = write(
        pack__in____init__="from .inner import Thing as Renamed\nfrom . import inner",
        pack__in__inner="class Thing: ...",
        user="import pack\nfrom pack import Renamed\nfrom pack import inner as other",
    )
    assert defined(sources, "user", "Renamed") == ("pack.inner", 1)
    assert defined(sources, "user", "pack.Renamed") == ("pack.inner", 1)
    assert defined(sources, "user", "other.Thing") == ("pack.inner", 1)


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("if x:\n    a = 1\nelse:\n    a = 2", "a"),
        ("from elsewhere_not_there import a", "a"),
        ("from user import a", "a"),
        ("import os", "os"),
        ("a = 1", "a()"),
        ("from broken import a", "a"),
    ],
)
def test_names_that_the_source_does_not_show(write: Write, text: str, expression: str) -> None:
    """Bound twice, of a module that cannot be read, or imported in a circle: nothing is concluded."""
    assert defined(write(user=text, broken="x = ("), "user", expression) is None


@pytest.mark.parametrize(
    ("text", "opaque"),
    [
        ("a = 1", False),
        ("from os import *", True),
        ("def __getattr__(name): ...", True),
        ("globals()['a'] = 1", True),
    ],
)
def test_modules_whose_names_may_come_from_anywhere(write: Write, text: str, opaque: bool) -> None:
    """What is not there may be there all the same."""
    assert module_of(write(sourced=text), "sourced").opaque is opaque


def test_an_extension_module_has_no_source() -> None:
    """Its names are not known."""
    module = module_of(Sources(), "math")
    assert module.tree is None
    assert module.opaque
    assert Sources().text("math") is None


def test_the_stub_of_the_public_face_is_read() -> None:
    """What lazy_loader serves stands in the stub."""
    sources = Sources()
    found = sources.definition(module_of(sources, "dicomnode"), "AbstractPipeline")
    assert found is not None
    assert found[0].name == "dicomnode.pipeline.pipelines"


def test_a_module_in_a_zip_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader that has the source gives it."""
    with zipfile.ZipFile(tmp_path / "modules.zip", "w") as archive:
        archive.writestr("zipped_for_a_test.py", "x = 1")
    monkeypatch.syspath_prepend(str(tmp_path / "modules.zip"))
    assert module_of(Sources(), "zipped_for_a_test").bindings.keys() == {"x"}


@pytest.mark.parametrize(
    ("package", "origin", "level", "name"),
    [
        ("a.b", "c", 0, "c"),
        ("a.b", "c", 1, "a.b.c"),
        ("a.b", None, 1, "a.b"),
        ("a.b", "c", 2, "a.c"),
        ("a.b", None, 2, "a"),
    ],
)
def test_relative_imports(package: str, origin: str | None, level: int, name: str) -> None:
    """One dot is the package itself, each further one the package above."""
    assert Module("a.b.m", package, None).absolute(origin, level) == name
