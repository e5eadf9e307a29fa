"""Another version of a distribution, installed into a folder of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dicomnode.errors import PluginError
from dicomnode.host.operation import side_by_side_install as module
from dicomnode.host.operation.side_by_side_install import install_aside


class Pip:
    """In place of pip: writes the metadata of some distributions where it is told to install."""

    def __init__(self, *installs: tuple[str, str], code: int = 0, stderr: str = "") -> None:
        self.installs, self.code, self.stderr = installs, code, stderr
        self.command: list[str] = []
        self.variables: Mapping[str, str] = {}

    def __call__(
        self, command: list[str], *, env: Mapping[str, str], **_options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Take the place of ``subprocess.run``."""
        self.command, self.variables = command, env
        site = Path(command[command.index("--target") + 1])
        for name, version in self.installs:
            info = site / f"{name}-{version}.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nVersion: of the text\n"
            )
        return subprocess.CompletedProcess(command, self.code, "", self.stderr)

    @property
    def wanted(self) -> str:
        """What was asked for."""
        assert self.command[-2] == "--"
        return self.command[-1]


def pip(monkeypatch: pytest.MonkeyPatch, *installs: tuple[str, str], **options: Any) -> Pip:
    """Put a pip in place, and return it."""
    made = Pip(*installs, **options)
    monkeypatch.setattr(module.subprocess, "run", made)
    return made


def test_a_version_is_asked_of_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That one alone, without what it requires, by this interpreter's pip, into the folder."""
    monkeypatch.setenv("DICOMNODE_HOST__DATA", "/srv/node")
    monkeypatch.setenv("PIP_INDEX_URL", "https://packages.example")
    used = pip(monkeypatch, ("scaled", "1.2.0"))
    assert install_aside("scaled", "1.2.0", tmp_path / "site") == "1.2.0"
    assert used.wanted == "scaled==1.2.0"
    assert used.command[0] == sys.executable
    assert {"--no-deps", "--no-input"} <= set(used.command)
    assert "--no-build-isolation" not in used.command
    assert "DICOMNODE_HOST__DATA" not in used.variables
    assert used.variables["PIP_INDEX_URL"] == "https://packages.example"


def test_names_are_compared_as_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Capitals, dots and underscores make no difference."""
    pip(monkeypatch, ("My_Plugin", "2.0"))
    assert install_aside("my.plugin", "2.0", tmp_path / "site") == "2.0"


def test_a_wheel_is_given_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path may be relative, or in the user's home."""
    wheel = tmp_path / "scaled-2.0-py3-none-any.whl"
    wheel.touch()
    monkeypatch.chdir(tmp_path)
    used = pip(monkeypatch, ("scaled", "2.0"))
    assert install_aside("scaled", wheel.name, tmp_path / "a") == "2.0"
    assert used.wanted == str(wheel)
    monkeypatch.setenv("HOME", str(tmp_path))
    used = pip(monkeypatch, ("scaled", "2.0"))
    install_aside("scaled", f"~/{wheel.name}", tmp_path / "b")
    assert used.wanted == str(wheel)


@pytest.mark.parametrize(
    ("pyproject", "here"),
    [
        ('[build-system]\nrequires = ["hatchling>=1"]\n', True),
        ('[build-system]\nrequires = ["Hatchling"]\n', True),
        ('[build-system]\nrequires = ["hatchling>=9"]\n', False),
        ('[build-system]\nrequires = ["hatchling", "absent"]\n', False),
        ('[build-system]\nrequires = ["no requirement!"]\n', False),
        ("[build-system]\nrequires = 3\n", False),
        ("[project]\n", False),
        ("no toml", False),
        (None, False),
    ],
)
def test_a_source_tree_is_built_with_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pyproject: str | None, here: bool
) -> None:
    """Where all that builds it is here nothing is fetched; in any other case pip gets what it needs."""
    tree = tmp_path / "tree"
    tree.mkdir()
    if pyproject is not None:
        (tree / "pyproject.toml").write_text(pyproject)
    monkeypatch.setattr(module, "installed_packages", lambda: {"hatchling": "1.5"})
    used = pip(monkeypatch, ("scaled", "3.0"))
    assert install_aside("scaled", str(tree), tmp_path / "site") == "3.0"
    assert used.wanted == str(tree)
    assert ("--no-build-isolation" in used.command) is here


def test_what_is_neither_a_version_nor_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pip is not asked."""
    used = pip(monkeypatch)
    with pytest.raises(PluginError) as raised:
        install_aside("scaled", "./nowhere", tmp_path / "site")
    assert str(raised.value) == (
        "'./nowhere' is neither a version (such as 1.2.0) nor a wheel or source tree that exists"
    )
    assert used.command == []


def test_what_pip_cannot_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of what pip says is in the message."""
    pip(monkeypatch, code=1, stderr="x" * 3000 + "no matching distribution\n")
    with pytest.raises(PluginError) as raised:
        install_aside("scaled", "9.0", tmp_path / "site")
    first, rest = str(raised.value).split("\n")
    assert first == "scaled==9.0 cannot be installed; pip says:"
    assert (len(rest), rest.endswith("no matching distribution")) == (2000, True)


@pytest.mark.parametrize(
    ("installs", "what"),
    [([("another", "1.0")], "another"), ([], "no distribution")],
)
def test_another_distribution_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installs: list[tuple[str, str]], what: str
) -> None:
    """It is named, with the one that the job is of."""
    wheel = tmp_path / "other.whl"
    wheel.touch()
    pip(monkeypatch, *installs)
    with pytest.raises(PluginError) as raised:
        install_aside("scaled", str(wheel), tmp_path / "site")
    assert str(raised.value) == f"{wheel} is {what}, and the job's pipeline is of scaled"
