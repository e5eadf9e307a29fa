"""The house: floors import downwards only, without cycles, and packages use only the public face."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dicomnode

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(
    path.parent for path in [*ROOT.glob("examples/*/pyproject.toml"), *ROOT.glob("plugins/*/pyproject.toml")]
)
ROOMS = (
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
    "host",
)
"""The folders of ``dicomnode/host`` in the order in which they may know of each other, and ``host.py``."""

KNOWN_UPWARD_IMPORTS = {
    ("configuration", "isolation"),
    ("configuration", "spool"),
    ("dimse", "spool"),
    ("history", "delivery"),
    ("parsing", "dimse"),
}
"""(room, later room that it imports from): what is still to be cut. Nothing is added here."""

OPEN_TO_TESTS = {"dicomnode.testing"}


def test_floors() -> None:
    """No floor imports from a floor above it (the contract is in pyproject.toml)."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 kept, 0 broken" in done.stdout


def test_no_cycles() -> None:
    """No module imports itself through others; imports inside functions or for types do not count."""
    graph = {
        _name(path): set(_imports_at_start(path)) for path in (ROOT / "core" / "dicomnode").rglob("*.py")
    }
    done: set[str] = set()
    for start in graph:
        _walk(start, graph, [], done)


def test_rooms_of_the_host_import_only_from_earlier_ones() -> None:
    """No room of the host imports from a later one, neither for types only nor within a function."""
    host = ROOT / "core" / "dicomnode" / "host"
    upward = set()
    for path in host.rglob("*.py"):
        room = path.relative_to(host).with_suffix("").parts[0]
        for imported in _imported_rooms(path):
            assert imported in ROOMS, f"{path}: imports from {imported}, which is not in ROOMS"
            if room != "__init__" and ROOMS.index(room) < ROOMS.index(imported):
                upward.add((room, imported))
    assert not upward - KNOWN_UPWARD_IMPORTS
    assert not KNOWN_UPWARD_IMPORTS - upward, "these are cut: take them out of KNOWN_UPWARD_IMPORTS"


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
    for configured in ast.walk(ast.parse(path.read_text())):
        if isinstance(configured, ast.Import):
            yield from ((alias.name, None) for alias in configured.names)
        elif isinstance(configured, ast.ImportFrom) and configured.module and not configured.level:
            yield from ((configured.module, alias.name) for alias in configured.names)


def _imported_rooms(path: Path) -> Iterator[str]:
    """Yield the rooms of the host from which a module imports anything, anywhere in its text."""
    for module, name in _imported(path):
        parts = module.split(".") if name is None else [*module.split("."), name]
        if parts[:2] == ["dicomnode", "host"] and len(parts) > 2:
            yield parts[2]


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT / "core").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports_at_start(path: Path) -> Iterator[str]:
    """Yield the modules of the core that a module imports when it is imported itself."""
    package = _name(path) if path.name == "__init__.py" else _name(path).rpartition(".")[0]
    for configured in ast.parse(path.read_text()).body:
        if isinstance(configured, ast.Import):
            yield from (alias.name for alias in configured.names if alias.name.startswith("dicomnode."))
        elif isinstance(configured, ast.ImportFrom):
            base = (
                package.split(".")[: len(package.split(".")) - configured.level + 1]
                if configured.level
                else []
            )
            module = ".".join([*base, *([configured.module] if configured.module else [])])
            if module.startswith("dicomnode"):
                for alias in configured.names:
                    inner = ROOT / "core" / Path(*module.split("."), f"{alias.name}.py")
                    yield f"{module}.{alias.name}" if inner.exists() else module


def _walk(name: str, graph: dict[str, set[str]], path: list[str], done: set[str]) -> None:
    assert name not in path, f"a cycle: {' -> '.join([*path[path.index(name) :], name])}"
    if name in done:
        return
    for following in graph.get(name, ()):
        _walk(following, graph, [*path, name], done)
    done.add(name)
