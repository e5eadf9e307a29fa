"""Modules as text: found and parsed without being imported, so that nothing of theirs runs.

Names are followed from module to module through imports. Of a module whose names lazy_loader serves (such as
the public face of dicomnode) the stub is read, which says where they come from.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

_DEEPEST = 12
"""How many imports a name is followed through."""


class SourceError(Exception):
    """Something at which an import would certainly fail. The message is one line."""


@dataclass(frozen=True)
class ImportedName:
    """A name of another module: ``from ORIGIN import NAME``, or ``import ORIGIN`` where there is no name."""

    origin: str
    name: str | None


@dataclass(frozen=True)
class Module:
    """The source of one module.

    Attributes
    ----------
    name : str
        Its full name.
    package : str
        What its relative imports are relative to.
    tree : ast.Module or None
        Its source; ``None`` where there is none to read (an extension module, a namespace package).
    """

    name: str
    package: str
    tree: ast.Module | None

    @cached_property
    def bindings(self) -> dict[str, list[ast.stmt | ImportedName]]:
        """What each name at the top is bound to, in order."""
        found: dict[str, list[ast.stmt | ImportedName]] = {}
        for statement in statements(self.tree.body if self.tree else []):
            for name, bound in self._bound(statement):
                found.setdefault(name, []).append(bound)
        return found

    @cached_property
    def opaque(self) -> bool:
        """Whether names may come from what the source does not show."""
        return (
            self.tree is None
            or "__getattr__" in self.bindings
            or "*" in self.bindings
            or any(isinstance(each, ast.Name) and each.id == "globals" for each in ast.walk(self.tree))
        )

    def absolute(self, origin: str | None, level: int) -> str:
        """Return the full name of the module in ``from ORIGIN import``, with ``level`` dots before it."""
        if not level:
            return origin or ""
        package = self.package.rsplit(".", level - 1)[0] if level > 1 else self.package
        return f"{package}.{origin}" if origin else package

    def _bound(self, statement: ast.stmt) -> Iterator[tuple[str, ast.stmt | ImportedName]]:
        """Yield the names that a statement binds."""
        match statement:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name, statement
            case ast.ImportFrom(module=origin, names=names, level=level):
                for alias in names:
                    yield alias.asname or alias.name, ImportedName(self.absolute(origin, level), alias.name)
            case ast.Import(names=names):
                for alias in names:
                    top = alias.name.partition(".")[0]
                    yield alias.asname or top, ImportedName(alias.name if alias.asname else top, None)
            case ast.Assign(targets=targets):
                for each in (node for target in targets for node in ast.walk(target)):
                    if isinstance(each, ast.Name):
                        yield each.id, statement
            case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
                yield name, statement


class Sources:
    """Finds and parses modules; each once."""

    def __init__(self) -> None:
        self._specs: dict[str, ModuleSpec | None] = {}
        self._modules: dict[str, Module | None] = {}

    def exists(self, name: str) -> bool:
        """Say whether a module could be found by its full name."""
        return self._spec(name) is not None

    def module(self, name: str) -> Module | None:
        """Return a module's source, ``None`` where there is no such module.

        Raises
        ------
        SourceError
            When it cannot be parsed.
        """
        if name not in self._modules:
            spec = self._spec(name)
            self._modules[name] = None if spec is None else _read(name, spec)
        return self._modules[name]

    def text(self, name: str) -> str | None:
        """Return a module's text, ``None`` where there is no such module or nothing to read."""
        spec = self._spec(name)
        return None if spec is None else _text(name, spec)

    def resolve(self, module: Module, expression: ast.expr) -> tuple[Module, ast.stmt] | None:
        """Return the module and statement that define what a name, or ``a.name``, refers to.

        Returns
        -------
        tuple or None
            ``None`` where the source does not show it: the name is bound several times, comes from a star
            import or from a module without source.
        """
        match expression:
            case ast.Name(id=name):
                return self.definition(module, name)
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                bound = module.bindings.get(name, [])
                if len(bound) == 1 and isinstance(bound[0], ImportedName):
                    imported = bound[0]
                    origin = f"{imported.origin}.{imported.name}" if imported.name else imported.origin
                    found = self._readable(origin)
                    return None if found is None else self.definition(found, attribute)
        return None

    def definition(self, module: Module, name: str) -> tuple[Module, ast.stmt] | None:
        """Return the module and statement that define a name at the top of a module, through imports."""
        for _ in range(_DEEPEST):
            bound = module.bindings.get(name, [])
            if len(bound) != 1:
                return None
            if not isinstance(bound[0], ImportedName):
                return module, bound[0]
            found = self._readable(bound[0].origin)
            if found is None or bound[0].name is None:
                return None
            module, name = found, bound[0].name
        return None

    def _readable(self, name: str) -> Module | None:
        try:
            return self.module(name)
        except SourceError:
            return None

    def _spec(self, name: str) -> ModuleSpec | None:
        if name not in self._specs:
            self._specs[name] = self._find(name)
        return self._specs[name]

    def _find(self, name: str) -> ModuleSpec | None:
        parent, _, _ = name.rpartition(".")
        try:
            if not parent:
                return importlib.util.find_spec(name)
            above = self._spec(parent)
            if above is None or above.submodule_search_locations is None:
                return None
            return PathFinder.find_spec(name, list(above.submodule_search_locations))
        except (ImportError, ValueError):  # a module whose __spec__ is None, or a parent that is none
            return None


def statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements at the top of a module, those within ``if``, ``try`` and ``with`` included."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.TryStar | ast.With):
            for field in ("body", "orelse", "finalbody"):
                yield from statements(getattr(statement, field, []))
            for handler in getattr(statement, "handlers", []):
                yield from statements(handler.body)


def _read(name: str, spec: ModuleSpec) -> Module:
    package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
    text = _text(name, spec)
    if text is None:
        return Module(name, package, None)
    try:
        return Module(name, package, ast.parse(text))
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
        msg = f"{name}{line} cannot be imported: {type(error).__name__}: {error.args[0]}"
        raise SourceError(msg) from error


def _text(name: str, spec: ModuleSpec) -> str | None:
    try:
        source = _source(name, spec)
    except (ImportError, OSError, SyntaxError, UnicodeDecodeError):
        return None
    if source is not None and "attach_stub" in source and spec.origin is not None:
        # What lazy_loader.attach_stub serves stands in the stub.
        stub = Path(spec.origin).with_suffix(".pyi")
        return stub.read_text(encoding="utf-8") if stub.is_file() else source
    return source


def _source(name: str, spec: ModuleSpec) -> str | None:
    if spec.origin is not None and spec.origin.endswith(".py") and (file := Path(spec.origin)).is_file():
        return importlib.util.decode_source(file.read_bytes())
    get_source = getattr(spec.loader, "get_source", None)  # in a zip file, say
    return None if get_source is None else get_source(name)
