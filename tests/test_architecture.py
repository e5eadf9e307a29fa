"""The house: floors import downwards only, without cycles, and packages use only the public face."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import TypeGuard

import pytest

import dicomnode

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(
    path.parent for path in [*ROOT.glob("examples/*/pyproject.toml"), *ROOT.glob("plugins/*/pyproject.toml")]
)
CORE = ROOT / "core" / "dicomnode"
FOLDERS = {
    "dicom": ("values", "elements", "blueprint", "reading", "tree", "geometry", "building", "blueprints"),
    "host": (
        "foundation",
        "parsing",
        "configuration",
        "dimse",
        "spool",
        "ledger",
        "gathering",
        "history",
        "jobs",
        "workers",
        "isolation",
        "delivery",
        "upkeep",
        "operation",
        "receiver",
        "simulation",
    ),
}
"""The folders of a floor: each imports only from those before it. Modules of no folder come after all."""

ASSIGNED_TO_OTHERS = {
    "dimse/association_request.py: primitive.called_ae_title": "pynetdicom's primitives have no constructor",
    "dimse/association_request.py: primitive.calling_ae_title": "pynetdicom's primitives have no constructor",
    "dimse/pynetdicom_private.py: acceptor.ae_title": "what pynetdicom's own server would set",
    "isolation/worker_tasks.py: replica.held.history": "an input's history is a value that changes",
    "ledger/ledger_reading.py: self._local.held": "the attributes of threading.local are its contents",
}
"""What is assigned to an object of another module all the same, and why that is no wiring."""

UNDIVIDED_TESTS: tuple[str, ...] = ()
"""The folders whose tests do not mirror their modules yet. Each is taken out when its tests are divided."""

TESTED_ELSEWHERE = {
    "cli/__init__.py": "the console script: tested with what it runs, in test_command_line.py",
    "errors.py": "exceptions: each is raised, and its text held, in the tests of what raises it",
}
"""Modules with behaviour that have no test file of their name, and why."""

OPEN_TO_TESTS = {"dicomnode.testing"}


def test_floors() -> None:
    """No floor imports from a floor above it (the contract is in pyproject.toml)."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 kept, 0 broken" in done.stdout


def test_no_cycles() -> None:
    """No module imports itself through others, not even for types or within a function."""
    graph = _graph()
    done: set[str] = set()
    for start in graph:
        _walk(start, graph, [], done)


@pytest.mark.parametrize("floor", FOLDERS)
def test_folders_import_in_order(floor: str) -> None:
    """A folder of a floor imports only from those before it, neither for types only nor within a function."""
    assert {path.parent.name for path in (CORE / floor).glob("*/*.py")} == set(FOLDERS[floor])
    order = [*FOLDERS[floor], ""]
    upward = {
        f"{name} imports {imported}"
        for name, imports in _graph().items()
        for imported in imports
        if name.startswith(f"dicomnode.{floor}.") and imported.startswith(f"dicomnode.{floor}.")
        if order.index(_folder(name)) < order.index(_folder(imported))
    }
    assert not upward


@pytest.mark.parametrize(
    ("names", "place"),
    [({"rmtree", "walk"}, "file_trees.py"), ({"statvfs", "disk_usage"}, "free_space.py")],
)
def test_one_place_touches_what_jobs_left(names: set[str], place: str) -> None:
    """In the host one module removes trees, and one asks how full a disk is: others did it with recursion."""
    users = {
        path.name
        for path in (ROOT / "core" / "dicomnode" / "host").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in names
        and isinstance(node.value, ast.Name)
        and node.value.id in {"os", "shutil"}
    }
    assert users <= {place}


def test_parts_of_the_host_are_whole_when_they_are_made() -> None:
    """No module of the host assigns to an object what that object's class, in another module, declares."""
    host = ROOT / "core" / "dicomnode" / "host"
    modules = {path: ast.parse(path.read_text()) for path in host.rglob("*.py")}
    declared = {path: set(_declared_attributes(module)) for path, module in modules.items()}
    found = set()
    for path, module in modules.items():
        elsewhere = set().union(*(names for other, names in declared.items() if other != path))
        for target in _assigned_attributes(module):
            if target.attr in elsewhere - declared[path]:
                found.add(f"{path.relative_to(host)}: {ast.unparse(target)}")
    assert not found - ASSIGNED_TO_OTHERS.keys()
    assert not ASSIGNED_TO_OTHERS.keys() - found, "these are gone: take them out of ASSIGNED_TO_OTHERS"


def test_tests_mirror_the_core() -> None:
    """A module with behaviour has a test file of its name, in the folder of its name."""
    without = {
        str(path.relative_to(CORE))
        for path in CORE.rglob("*.py")
        if _has_behaviour(path) and not str(path.relative_to(CORE)).startswith(UNDIVIDED_TESTS)
        if not (ROOT / "tests" / path.relative_to(CORE).parent / f"test_{path.stem}.py").is_file()
    }
    assert not without - TESTED_ELSEWHERE.keys()
    assert not TESTED_ELSEWHERE.keys() - without, "these have tests: take them out of TESTED_ELSEWHERE"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_packages_use_the_public_face(package: Path) -> None:
    """What a first-party package imports of dicomnode is what ``dicomnode/__init__.py`` exports."""
    files = [path for path in package.rglob("*.py") if not {"build", ".venv"} & set(path.parts)]
    for path in files:
        for module, name in _imported(path):
            if module.split(".")[0] != "dicomnode":
                continue
            if module in OPEN_TO_TESTS and "tests" in path.parts:
                continue
            assert module == "dicomnode", f"{path}: imports {module}"
            assert name is None or name in dicomnode.__all__, f"{path}: {name} is not exported"


def test_there_are_packages() -> None:
    """The examples are there to be looked at."""
    assert "smooth" in {package.name for package in PACKAGES}


def test_everything_exported_is_there() -> None:
    """Every name of the public face can be imported."""
    missing = [name for name in dicomnode.__all__ if not hasattr(dicomnode, name)]
    assert not missing


@pytest.mark.parametrize("page", ["architecture.md", "onboarding.md"])
def test_pages_name_what_is_there(page: str) -> None:
    """Every file and folder of the house that the page names is there."""
    text = (ROOT / "docs" / page).read_text()
    files = {path.name for path in (ROOT / "core").rglob("*.py")} | {
        path.name for path in Path(__file__).parent.glob("*.py")
    }
    named = set(re.findall(r"(\w+\.py)\b", text))
    assert named
    assert not named - files
    for group, name in re.findall(r"host/(\w+)/(\w+\.py)", text):
        assert (ROOT / "core" / "dicomnode" / "host" / group / name).is_file()
    for folder in re.findall(r"^  (\w+)/ ", text, flags=re.MULTILINE):
        assert list((ROOT / "core" / "dicomnode").glob(f"**/{folder}")), folder


def _imported(path: Path) -> Iterator[tuple[str, str | None]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)


def _declared_attributes(module: ast.Module) -> Iterator[str]:
    """Yield the attributes that the classes of a module declare, or assign to ``self``."""
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            for statement in node.body:
                targets = statement.targets if isinstance(statement, ast.Assign) else []
                if isinstance(statement, ast.AnnAssign):
                    targets = [statement.target]
                yield from (target.id for target in targets if isinstance(target, ast.Name))
        elif _is_assigned(node) and _is_own(node):
            yield node.attr


def _assigned_attributes(module: ast.Module) -> Iterator[ast.Attribute]:
    """Yield the targets of assignments to attributes of other objects than ``self``."""
    for node in ast.walk(module):
        if _is_assigned(node) and not _is_own(node):
            yield node


def _is_assigned(node: ast.AST) -> TypeGuard[ast.Attribute]:
    return isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)


def _is_own(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def _has_behaviour(path: Path) -> bool:
    """Return whether a module has a function that does something: plain data and protocols have no tests."""
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    found = [
        inner
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        for inner in ([node] if isinstance(node, functions) else getattr(node, "body", ()))
        if isinstance(inner, functions)
    ]
    return any(not isinstance(last := each.body[-1], ast.Expr) or not _is_constant(last) for each in found)


def _is_constant(statement: ast.Expr) -> bool:
    """Return whether a statement is a docstring or an ellipsis."""
    return isinstance(statement.value, ast.Constant)


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT / "core").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _folder(name: str) -> str:
    """Return the folder of a module within its floor, ``""`` for a module of no folder."""
    parts = name.split(".")
    return parts[2] if (CORE / Path(*parts[1:3])).is_dir() else ""


@cache
def _graph() -> dict[str, set[str]]:
    """Return the modules of the core, each with what it imports. A stub counts, except that of a package."""
    files = [path for kind in ("*.py", "*.pyi") for path in CORE.rglob(kind) if path.name != "__init__.pyi"]
    known = {_name(path) for path in files}
    graph: dict[str, set[str]] = {name: set() for name in known}
    for path in files:
        graph[_name(path)] |= set(_imports(path, known)) - {_name(path)}
    return graph


def _imports(path: Path, known: Collection[str]) -> Iterator[str]:
    """Yield the modules of the core that a module imports: at its start, for types, and within functions."""
    package = _name(path) if path.stem == "__init__" else _name(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                if inner in known:
                    yield inner
                elif module in known:
                    yield module


def _walk(name: str, graph: dict[str, set[str]], path: list[str], done: set[str]) -> None:
    assert name not in path, f"a cycle: {' -> '.join([*path[path.index(name) :], name])}"
    if name in done:
        return
    for following in graph.get(name, ()):
        _walk(following, graph, [*path, name], done)
    done.add(name)
