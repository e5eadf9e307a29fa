"""The environments that pipelines live in: virtual environments that are there, or made of requirements."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dicomnode.errors import ConfigurationError
from dicomnode.host.isolation.environment import ready_environment
from dicomnode.host.isolation.own_wheel import write_own_wheel
from dicomnode.testing import LocalHost
from environments import borrowed, make_environment
from isolated_plugins import ISOLATED, Environments
from sources import mr_slices


def test_environments_that_cannot_be_used(environments: Environments, tmp_path: Path) -> None:
    """A folder that is no environment, one without the host, or with another: each says what to do."""
    with pytest.raises(ConfigurationError, match=r"no virtual environment.*python -m venv"):
        ready_environment(tmp_path, tmp_path)
    make_environment(environments.root / "bare", borrow=False)
    with pytest.raises(ConfigurationError, match=r"has no dicomnode-host.*pip install dicomnode-host=="):
        ready_environment(environments.root / "bare", tmp_path)
    packages = make_environment(environments.root / "old", borrow=False)
    (packages / "dicomnode_host-0.0.1.dist-info").mkdir()
    metadata = "Metadata-Version: 2.1\nName: dicomnode-host\nVersion: 0.0.1\n"
    (packages / "dicomnode_host-0.0.1.dist-info" / "METADATA").write_text(metadata)
    with pytest.raises(ConfigurationError, match=r"has dicomnode-host 0\.0\.1, and needs"):
        ready_environment(environments.root / "old", tmp_path)


def wheel(folder: Path, name: str, files: dict[str, str]) -> Path:
    """Write a wheel of a package, as an index would have it."""
    info = f"{name}-1.0.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for each, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            rows.append(f"{each},sha256={digest},{len(text.encode())}\n")
            archive.writestr(each, text)
        archive.writestr(f"{info}/RECORD", "".join([*rows, f"{info}/RECORD,,\n"]))
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let pip find wheels in a folder, and nowhere else; what they need comes from the tests' environment."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel(folder, "conflicting", {"conflicting.py": "VERSION = '3.0'\n"})
    wheel(folder, "rest", {"rest.pth": borrowed()})
    entry_points = "[dicomnode.pipelines]\nisolated = isolated:Pipeline\n"
    wheel(
        folder,
        "isolated",
        {"isolated.py": ISOLATED, "isolated-1.0.dist-info/entry_points.txt": entry_points},
    )
    own = write_own_wheel(folder)  # once: in a work tree, somebody may be at work
    monkeypatch.setattr("dicomnode.host.isolation.environment.write_own_wheel", lambda _: own)
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "NO_DEPS": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return folder


@pytest.mark.parametrize("as_file", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_environment_is_made_of_requirements(index: Path, tmp_path: Path, as_file: bool) -> None:
    """Requirements become an environment with the very host that asks; it is made once and used again."""
    requirements: Any = ("isolated==1.0", "conflicting", "rest")
    if as_file:
        file = tmp_path / "requirements.txt"
        file.write_text("# the pipeline\n\n" + "\n".join(requirements))
        requirements = file
    configured: Callable[[], LocalHost] = lambda: LocalHost(  # noqa: E731 - made twice
        tmp_path / "node", {"isolated": {"environment": requirements}}
    )
    with configured() as running:
        made = running.host.configured_pipelines["isolated"].environment
        assert made is not None
        assert made.parent == tmp_path / "node" / "data" / "environments"
        assert made.stat().st_mode & 0o077 == 0 or made.parent.stat().st_mode & 0o077 == 0
        assert running.send(mr_slices()) == [0] * 4
        running.wait_for_jobs()
        assert {each.SeriesDescription for each in running.peer.received} == {"made with 3.0"}
    ours = list(made.glob("lib/*/site-packages/dicomnode/host/workers/worker_main.py"))
    assert len(ours) == 1
    before = made.stat().st_mtime_ns
    (index / "isolated-1.0-py3-none-any.whl").unlink()
    with configured() as running:
        assert running.host.configured_pipelines["isolated"].environment == made
    assert made.stat().st_mtime_ns == before


@pytest.mark.slow
def test_requirements_that_cannot_be_met(index: Path, tmp_path: Path) -> None:
    """What pip cannot do is told in pip's words; nothing half-made is left; options are no requirements."""
    with pytest.raises(ConfigurationError, match=r"(?s)no-such-package.*No matching distribution"):
        ready_environment(("no-such-package==9",), tmp_path / "home")
    with pytest.raises(ConfigurationError, match="pip says"):
        ready_environment(("--target=/",), tmp_path / "home")
    assert {path.name for path in (tmp_path / "home").iterdir()} == {"lock"}
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        ready_environment(tmp_path / "binary.txt", tmp_path / "home")
