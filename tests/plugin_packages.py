"""Plugin packages for the tests: written into a folder on the import path, as pip would install them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from textwrap import dedent

import pytest


class PluginFolder:
    """A folder on the import path where plugins are installed for the length of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self,
        distribution: str,
        entry_points: Mapping[str, Mapping[str, str]] | str = "",
        *,
        version: str = "1.0",
        modules: Mapping[str, str] | None = None,
        requires: Iterable[str] = (),
        requires_python: str = "",
    ) -> None:
        """Write a distribution's metadata, and the modules that come with it.

        ``entry_points`` has our word for the kind as its key (``pipelines``), or is the text of
        entry_points.txt.
        """
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}"]
        lines += [f"Requires-Dist: {each}" for each in requires]
        lines += [f"Requires-Python: {requires_python}"] if requires_python else []
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        (info / "entry_points.txt").write_text(
            entry_points if isinstance(entry_points, str) else _text(entry_points)
        )
        for name, source in (modules or {}).items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(source))


def _text(entry_points: Mapping[str, Mapping[str, str]]) -> str:
    lines: list[str] = []
    for kind, names in entry_points.items():
        lines += [f"[dicomnode.{kind}]", *(f"{name} = {value}" for name, value in names.items())]
    return "\n".join(lines) + "\n"


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Yield a folder for plugins; the modules imported from it are forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield PluginFolder(folder)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]
